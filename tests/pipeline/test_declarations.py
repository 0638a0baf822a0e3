"""dvc.yaml declares what the stages use: no change of code or parameters can be silently ignored."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml_dvc

from privpipe.params import GROUPS

ROOT = Path(__file__).parents[2]
STAGES = {name: stage for name, stage in yaml_dvc.stages(ROOT).items() if name != yaml_dvc.CODE}
PROJECTS = [ROOT, *(ROOT / "studies" / name for name in ("leaderboard", "paper", "survey"))]
IDS = [project.name for project in PROJECTS[1:]]
# Properties of a group, and the parameters that they follow from.
READING = {"data.channels", "data.stack", "data.range", "data.saturated"}
DERIVED = {"data.public_fraction": {"data.public"}, "data.reading": READING}
# Outputs that show originals, hold them, or were trained on them.
SHOW_ORIGINALS = {
    "data/public.h5",
    "models/reference_classifier.safetensors",
    "plots/examples.png",
    "plots/reconstructions.png",
}
# What refuses a release and decides nothing of it: declared, a change of it would make another release.
ONLY_REFUSING = {"key.budget"}
WITHOUT_TORCH = {"download", "keygen", "leak", "perturb", "report"}


@pytest.mark.parametrize("project", PROJECTS, ids=["root", *IDS])
def test_every_stage_depends_on_the_digest_of_its_own_code_and_on_no_code_itself(project: Path) -> None:
    stages = yaml_dvc.stages(project)
    code, noted = stages.pop(yaml_dvc.CODE), set()
    for stage in stages.values():
        declared = stage.get("do", stage)
        (module,) = re.findall(r"python -m ([\w.]+) ", declared["cmd"])
        deps = [path for path in declared["deps"] if path.startswith((".code", "privpipe", "stages", ".."))]
        assert deps == [f".code/{module.rpartition('.')[2]}.txt"]
        noted.add(module.removeprefix("stages."))
    before, names = code["cmd"].split("python -m stages.code --folder .code ")
    assert before in {"", "PYTHONPATH=../.. "}
    assert len(names.split()) == len(noted) and set(names.split()) == noted
    assert code["outs"] == [{".code": {"cache": False}}]


def test_the_stage_that_notes_code_notices_every_change_of_it() -> None:
    assert yaml_dvc.stages(ROOT)[yaml_dvc.CODE]["deps"] == ["privpipe", "stages"]
    for project in PROJECTS[1:]:
        assert yaml_dvc.stages(project)[yaml_dvc.CODE]["always_changed"] is True


def test_the_pipeline_is_short() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) < 250


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_that_is_read_is_declared_and_no_other(stage: str) -> None:
    declared = set()
    for name in STAGES[stage].get("params", []):  # a whole group stands for its names
        declared |= {f"{name}.{one}" for one in GROUPS[name].model_fields} if name in GROUPS else {name}
    if stage == "report":  # prints all of them
        assert STAGES[stage]["params"] == list(GROUPS)
        return
    paths = (ROOT / "stages" / f"{stage}.py", ROOT / "privpipe" / "pipeline" / "steps" / f"{stage}.py")
    read = set().union(*(read_parameters(path) for path in paths if path.exists()))
    assert read - ONLY_REFUSING == declared - ONLY_REFUSING and not declared & ONLY_REFUSING


def read_parameters(path: Path) -> set[str]:
    """The parameters `group.name` that a stage script reads; a whole group that it passes on stands for its names."""
    tree = ast.parse(path.read_text())
    aliases: dict[str, str] = {}  # local names of groups, such as how = params.train
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Name):
            group = node.annotation.id.lower()  # such as data: Data
            aliases |= {node.arg: group} if group in GROUPS else {}
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
    return set().union(*(DERIVED.get(name, {name}) for name in found))


def test_the_cloud_depends_on_the_perturbed_images_alone() -> None:
    for stage in ("train", "evaluate"):
        assert not [path for path in STAGES[stage]["deps"] if path.startswith("data/private")]


def test_packages_have_no_code_in_their_init() -> None:
    """Importing a module runs the `__init__` of its package, which is followed only where it is imported itself."""
    for path in (ROOT / "privpipe").rglob("__init__.py"):
        if path.parent.name == "perturb":  # the registry: it takes the methods from their modules
            continue
        body = ast.parse(path.read_text()).body
        typing = {"if TYPE_CHECKING", "from typing import TYPE_CHECKING, Any"}  # and functions do nothing by themselves
        code = [node for node in body if not isinstance(node, ast.Expr | ast.Assign | ast.FunctionDef)]
        assert {ast.unparse(node).split(":")[0] for node in code} <= typing, path


@pytest.mark.parametrize("stage", sorted(WITHOUT_TORCH))
def test_stages_that_need_no_torch_do_not_import_it(stage: str) -> None:
    # Not by the import graph: the methods import torch in the functions that tell a network what it asks.
    code = f"import sys; import stages.{stage}; import privpipe.perturb; len(privpipe.perturb.METHODS)"
    code += "; from privpipe.networks.registry import NETWORKS; len(NETWORKS)"
    code += "; from privpipe.scores.registry import SCORES; len(SCORES)"
    code += "; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


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
