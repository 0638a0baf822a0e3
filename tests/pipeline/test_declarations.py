"""dvc.yaml declares what the stages use: no change of code or parameters can be silently ignored."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml_dvc

ROOT = Path(__file__).parents[2]
STAGES = yaml_dvc.stages(ROOT)
SURVEY = yaml_dvc.stages(ROOT / "survey")
del SURVEY["table"]  # it imports the module that measures the points, but measures nothing
STUDY = yaml_dvc.stages(ROOT / "study")

# params.py asks the methods for their legal values, to refuse an experiment early. That can refuse a run but
# not change any output; the stage that runs the methods imports them itself.
VALIDATION_ONLY = ("privpipe.params", "privpipe.perturb")
# Stages that need no torch must not spend seconds on importing it.
# Properties of a group, and the parameter that they follow from.
DERIVED = {"data.public_share": "data.public"}
# Outputs that show originals, hold them, or were trained on them.
SHOW_ORIGINALS = {"data/public.h5", "models/recogniser.safetensors", "plots/examples.png", "plots/reconstructions.png"}
WITHOUT_TORCH = {"download", "keygen", "leak", "perturb", "report"}


@cache
def import_graph() -> grimp.ImportGraph:
    # Without its cache, which may be of another set of packages and older than the files.
    graph = grimp.build_graph("privpipe", "stages", include_external_packages=True, cache_dir=None)
    graph.remove_import(importer=VALIDATION_ONLY[0], imported=VALIDATION_ONLY[1])
    return graph


def needed_files(stage: str) -> set[str]:
    """The source files that a stage's command imports, directly or not."""
    upstream = import_graph().find_upstream_modules(f"stages.{stage}")
    ours = {module for module in upstream if module.split(".")[0] in {"privpipe", "stages"}} | {f"stages.{stage}"}
    files = set()
    for module in ours:
        path = Path(*module.split("."))
        package = (ROOT / path / "__init__.py").exists()
        files.add(str(path / "__init__.py" if package else path.with_suffix(".py")))
    return files


def declared_code(stage: str) -> list[str]:
    return [path for path in STAGES[stage]["deps"] if path.startswith(("privpipe", "stages"))]


@pytest.mark.parametrize("stage", STAGES)
def test_every_imported_file_is_a_declared_dependency(stage: str) -> None:
    covered = {
        path
        for path in needed_files(stage)
        for entry in declared_code(stage)
        if path == entry or path.startswith(f"{entry}/")
    }
    assert needed_files(stage) - covered == set()


def paths_of_code(declared: dict[str, Any]) -> set[str]:
    return {path for path in declared["deps"] if path.startswith(("privpipe", "stages"))}


def code_behind(stages: dict[str, Any], stage: str) -> tuple[str, set[str]]:
    """The script of a stage, and the code that it depends on: its own dependencies, or those that `code` notes."""
    declared = stages[stage].get("do", stages[stage])
    noted = any(path.endswith("/code.json") for path in declared["deps"])
    code = set(stages["code"]["cmd"].split()[3:-2]) if noted else paths_of_code(declared)
    assert not (noted and paths_of_code(declared))
    return declared["cmd"].split()[2].removeprefix("stages."), code


@pytest.mark.parametrize("stage", SURVEY)
def test_every_file_that_measures_the_survey_is_a_declared_dependency(stage: str) -> None:
    script, code = code_behind(SURVEY, stage)
    assert {path for path in needed_files(script) if not path.startswith(tuple(code))} == set()


@pytest.mark.parametrize("stage", STUDY)
def test_every_file_of_the_study_is_a_declared_dependency(stage: str) -> None:
    script, code = code_behind(STUDY, stage)
    needed = needed_files(script)
    if stage == "code":  # it reads the files that it notes
        needed |= set(STUDY["code"]["cmd"].split()[3:-2])
    assert {path for path in needed if not path.startswith(tuple(code))} == set()
    assert {path for path in code if not any(other.startswith(path) for other in needed)} == set()


@pytest.mark.parametrize("stages", [SURVEY, STUDY])
def test_code_that_is_noted_is_a_dependency_of_the_stage_that_notes_it(stages: dict[str, Any]) -> None:
    declared = stages["code"]
    assert declared["cmd"].startswith("python -m stages.code ")
    assert set(declared["cmd"].split()[3:-2]) <= set(declared["deps"])


@pytest.mark.parametrize("stage", STAGES)
def test_no_declared_code_is_unused(stage: str) -> None:
    for entry in declared_code(stage):
        used = any(path == entry or path.startswith(f"{entry}/") for path in needed_files(stage))
        assert used or entry.endswith((".j2", ".csv")), entry


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_that_is_read_is_declared_and_no_other(stage: str) -> None:
    declared = set(STAGES[stage].get("params", []))
    if stage == "report":  # prints all of them
        assert declared == {"data", "key", "perturb", "model", "train", "attack"}
        return
    assert read_parameters(ROOT / "stages" / f"{stage}.py") == declared


def read_parameters(path: Path) -> set[str]:
    """The parameters `group.name` that a stage script reads; a whole group that it passes on stands for its names."""
    from privpipe.params import GROUPS

    tree = ast.parse(path.read_text())
    aliases: dict[str, str] = {}  # local names of groups, such as how = params.train
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        target, value = node.targets[0], node.value
        pairs = zip(target.elts, value.elts, strict=True) if isinstance(value, ast.Tuple) else [(target, value)]
        for name, group in pairs:
            if isinstance(group, ast.Attribute) and group.attr in GROUPS:
                aliases[name.id] = group.attr
    found, whole = set(), set()
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in aliases:
            found.add(f"{aliases[node.value.id]}.{node.attr}")
        elif isinstance(node.value, ast.Attribute) and node.value.attr in GROUPS:
            found.add(f"{node.value.attr}.{node.attr}")
        elif node.attr in GROUPS and isinstance(node.value, ast.Name | ast.Call) and id(node) not in inner:
            whole.add(node.attr)
    for group in whole - set(aliases.values()):
        if group in {"perturb", "key", "model", "train"}:
            found |= {f"{group}.{name}" for name in GROUPS[group].model_fields}
    return {DERIVED.get(name, name) for name in found}


def test_the_cloud_depends_on_the_perturbed_images_alone() -> None:
    for stage in ("train", "evaluate"):
        assert not [path for path in STAGES[stage]["deps"] if path.startswith("data/private")]


def test_packages_have_no_code_in_their_init() -> None:
    """Importing a module runs the `__init__` of its package: those are no dependencies, so they must do nothing."""
    for path in (ROOT / "privpipe").rglob("__init__.py"):
        if path.parent.name == "perturb":  # the registry, a dependency as a folder
            continue
        body = ast.parse(path.read_text()).body
        assert all(isinstance(node, ast.Expr | ast.Assign) for node in body), path


@pytest.mark.parametrize("stage", sorted(WITHOUT_TORCH))
def test_stages_that_need_no_torch_do_not_import_it(stage: str) -> None:
    assert "torch" not in import_graph().find_upstream_modules(f"stages.{stage}")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_describes_itself_and_shows_its_paths(stage: str) -> None:
    declared = STAGES[stage]
    assert declared["desc"]
    assert declared["cmd"].startswith(f"python -m stages.{stage} ")
    folders = [
        word
        for word in declared["cmd"].split()
        if (ROOT / word).is_dir() or "/" in word or word in {"metrics", "plots"}
    ]
    for path in yaml_dvc.paths(declared):
        assert any(path == word or path.startswith(f"{word}/") for word in folders), path


def test_private_outputs_are_never_pushed() -> None:
    for stage in STAGES.values():
        for entry in stage.get("outs", []):
            path, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
            shows_originals = path.startswith(("data/private/", "reports/")) or path in SHOW_ORIGINALS
            assert (options.get("push", True) is False) == shows_originals, path
