"""The code behind a stage: a changed line is felt by exactly the stages that can feel it, a comment by none."""

import shutil
import sys
from pathlib import Path

import grimp
import pytest
from click.testing import CliRunner

from privpipe.attacks.registry import ATTACKS
from privpipe.errors import PrivpipeError
from privpipe.networks.registry import NETWORKS
from privpipe.perturb import METHODS as METHODS_FOUND
from privpipe.pipeline.code import CUT, PACKAGES, Sources, meaning
from privpipe.scores.registry import SCORES
from stages.code import main

ROOT = Path(__file__).parents[2]
# The modules of the stages of all pipelines: this one and the studies'.
GROUP, READINGS, CLAIMS = "studies.paper.group", "studies.paper.readings", "studies.paper.report"
POINTS, TABLES = "studies.survey.points", "studies.survey.report"
RUNS, PAGE = "studies.leaderboard.runs", "studies.leaderboard.page"
STUDIED = {GROUP, READINGS}
ATTACKED = {POINTS, RUNS, PAGE}
STAGES = (
    *(
        "download",
        "keygen",
        "perturb",
        "leak",
        "reference_classifier",
        "train",
        "evaluate",
        "descramble",
        "attack",
        "score",
    ),
    *("report", GROUP, READINGS, CLAIMS, POINTS, TABLES, RUNS, PAGE),
)


def module_of(stage: str) -> str:
    return stage if "." in stage else f"stages.{stage}"


REGISTRIES = {
    "privpipe.perturb": METHODS_FOUND,
    "privpipe.attacks.registry": ATTACKS,
    "privpipe.networks.registry": NETWORKS,
    "privpipe.scores.registry": SCORES,
}
DRAWING = {"report", TABLES, CLAIMS}
METHODS = {"perturb", "attack", "score", "descramble", *STUDIED} | ATTACKED | DRAWING
TRAINING = {"train", *STUDIED} | ATTACKED
NETWORK_CODE = TRAINING | {"evaluate", "reference_classifier", "score", "attack", "descramble", CLAIMS}
# Where a line is added, and the stages that can feel it.
CHANGES = {
    "privpipe/perturb/gaussian_blur.py": METHODS,  # not download, though params.py asks the methods
    "privpipe/perturb/block_permutation.py": METHODS,  # no module imports it by name
    "privpipe/attacks/network.py": {"attack"} | ATTACKED,  # nor this one
    "privpipe/attacks/as_is.py": {"attack"} | ATTACKED,
    # Not by those that only check parameters with it.
    "privpipe/networks/baseline.py": NETWORK_CODE,
    "privpipe/scores/guarantee.py": {"score", "report"} | ATTACKED,
    "privpipe/scores/measures/recognised.py": {"score", "report"} | ATTACKED,
    "privpipe/attacks/correlations.py": TRAINING | {"attack"},
    "privpipe/nn/statistics.py": {"evaluate", CLAIMS, *STUDIED} | ATTACKED,
    "privpipe/nn/training.py": TRAINING | {"reference_classifier", "score"},
    "privpipe/owner/leaking.py": {"leak"},
    "privpipe/data/fetch.py": {"download"},
    "privpipe/data/locate.py": {"download"},
    "privpipe/data/sha256.py": {"download"},
    "privpipe/pipeline/executors.py": STUDIED | ATTACKED,
    "privpipe/pipeline/experiment.py": STUDIED | ATTACKED,
    "privpipe/pipeline/steps/attack.py": {"attack"} | ATTACKED,
    "privpipe/pipeline/steps/score.py": {"score"} | ATTACKED,
    "privpipe/report/page.html.j2": {"report"},
    "privpipe/report/leaderboard.html.j2": {PAGE},
    "privpipe/pipeline/entries.py": {RUNS, PAGE},
    "privpipe/pipeline/evaluation.py": {RUNS, PAGE},
    "studies/survey/tables.py": {TABLES},
    "studies/survey/columns.py": {POINTS, TABLES},
    "studies/paper/columns.py": {CLAIMS, *STUDIED},
    "studies/paper/claims.py": {CLAIMS},
    "privpipe/cli/main.py": set(),
    "privpipe/params.py": set(STAGES) - {"descramble", TABLES},  # which read no parameter
    "privpipe/parameters.py": set(STAGES) - {"descramble", TABLES},
    "privpipe/errors.py": set(STAGES),
    "stages/train.py": {"train"},
    "stages/code.py": set(),
}

PROGRAM = '''"""What it is."""

import math

def area(radius: float) -> float:
    """Of a circle."""
    return math.pi * radius**2  # Euclid

class Shape:
    """Any."""

    sides = 4
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it is."""', '"""What it was."""'),
        ('"""Of a circle."""', '"""Of a circle,\n\n    in the plane."""'),
        ('"""Any."""', '"""Some."""'),
        ("  # Euclid", "  # Archimedes"),
        ("radius**2", "(radius ** 2)"),
        ("\n\nclass", "\n\n\n# A comment.\nclass"),
    ],
)
def test_comments_docstrings_and_layout_mean_nothing(old: str, new: str) -> None:
    assert old in PROGRAM
    assert meaning(PROGRAM.replace(old, new, 1)) == meaning(PROGRAM)


@pytest.mark.parametrize("documented", ['def f():\n    """Doc."""\n    g()', 'async def f():\n    """Doc."""\n    g()'])
def test_a_first_docstring_means_nothing(documented: str) -> None:
    assert meaning(documented) == meaning(documented.replace('    """Doc."""\n', ""))


@pytest.mark.parametrize(
    ("old", "new"),
    [("radius**2", "radius**3"), ("sides = 4", "sides = 5"), ("math.pi", "math.e"), ("radius: float", "radius: int")],
)
def test_a_changed_program_means_something_else(old: str, new: str) -> None:
    assert old in PROGRAM
    assert meaning(PROGRAM.replace(old, new, 1)) != meaning(PROGRAM)


@pytest.mark.parametrize(
    ("old", "new"), [("None", "0"), ("1", "True"), ("[]", "None"), ("[None]", "[]"), ("''", "b''")]
)
def test_values_that_are_alike_are_told_apart(old: str, new: str) -> None:
    assert meaning(f"a = {old}") != meaning(f"a = {new}")


PACKAGE = {
    "privpipe/__init__.py": "",
    "privpipe/params.py": "from privpipe.perturb import METHODS\nfrom privpipe import errors\n",
    "privpipe/errors.py": "",
    "privpipe/perturb/__init__.py": "from . import blur\nMETHODS = [blur]\n",
    "privpipe/perturb/blur.py": "from .base import gauss\n",
    "privpipe/perturb/base.py": "import numpy\ngauss = numpy.exp\n",
    "privpipe/page.py": "TEMPLATE = 'page.html'\n",
    "privpipe/page.html": "<p>",
    "privpipe/other.html": "<b>",
    "privpipe/tools/__init__.py": "TOOLS = Registry('privpipe.tools', 'privpipe.tools.base:Tool', 'privpipe.tools')\n",
    "privpipe/tools/base.py": "",
    "privpipe/tools/saw.py": "from privpipe.tools.base import Tool\n",
    "privpipe/tools/deep/__init__.py": "",
    "privpipe/tools/deep/drill.py": "",
    "stages/__init__.py": "",
    "stages/build.py": "from privpipe.tools import TOOLS\n",
    "stages/typed.py": "if TYPE_CHECKING:\n    import privpipe.errors\nelse:\n    import privpipe.page\n",
    "stages/read.py": "import privpipe.params\n",
    "stages/draw.py": "def main():\n    from privpipe import page, perturb\n",
    "stages/loop.py": "import stages.loop\nfrom stages import *\nfrom elsewhere import this\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, source in PACKAGE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(source)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "files"),
    [
        ("stages.read", "privpipe/errors.py privpipe/params.py stages/read.py"),
        (
            "stages.draw",
            "privpipe/page.html privpipe/page.py privpipe/perturb/__init__.py privpipe/perturb/base.py "
            "privpipe/perturb/blur.py stages/draw.py",
        ),
        (
            "stages.build",
            "privpipe/tools/__init__.py privpipe/tools/base.py privpipe/tools/saw.py stages/build.py",
        ),
        ("stages.typed", "privpipe/page.html privpipe/page.py stages/typed.py"),
        ("stages.loop", "stages/__init__.py stages/loop.py"),
        ("privpipe.perturb", "privpipe/perturb/__init__.py privpipe/perturb/base.py privpipe/perturb/blur.py"),
    ],
)
def test_code_is_followed_through_every_form_of_import(package: Path, module: str, files: str) -> None:
    assert " ".join(Sources(package).behind(module)) == files


PLUG_IN = {
    "extra_saws/__init__.py": "",
    "extra_saws/saw.py": "def cut():\n    return 1\n",
    "extra_saws/teeth/shape.txt": "sharp",
    "extra_saws-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: extra_saws\nVersion: 1.0\n",
    "extra_saws-1.0.dist-info/entry_points.txt": "[privpipe.tools]\nsaw = extra_saws.saw:Saw\nsmall = one_saw:Saw\n",
    "one_saw.py": "class Saw: pass\n",
}


@pytest.fixture
def plug_in(package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, which Python searches."""
    folder = package / "site-packages"
    for name, content in PLUG_IN.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(content)
    monkeypatch.syspath_prepend(folder)
    return folder


def installed(package: Path, module: str) -> dict[str, str]:
    return {path: digest for path, digest in Sources(package).behind(module).items() if path.startswith("installed:")}


def test_installed_packages_count_for_the_registry_that_finds_them(package: Path, plug_in: Path) -> None:
    names = ("extra_saws/__init__.py", "extra_saws/saw.py", "extra_saws/teeth/shape.txt", "one_saw.py")
    assert list(installed(package, "stages.build")) == [f"installed:{name}" for name in names]
    assert installed(package, "stages.draw") == {}
    assert not {"extra_saws", "one_saw"} & sys.modules.keys()


@pytest.mark.parametrize(
    ("name", "content", "felt"),
    [
        ("extra_saws/saw.py", "def cut():\n    return 2\n", True),
        ("extra_saws/saw.py", 'def cut():\n    """Cuts."""\n    return 1  # once\n', False),
        ("extra_saws/saw.py", "def cut(:\n", True),
        ("extra_saws/teeth/shape.txt", "blunt", True),
        ("extra_saws/more.py", "", True),
        ("one_saw.py", "class Saw: teeth = 3\n", True),
        ("elsewhere.py", "", False),
    ],
)
def test_a_changed_line_of_an_installed_package_is_felt(
    name: str, content: str, felt: bool, package: Path, plug_in: Path
) -> None:
    before = installed(package, "stages.build")
    (plug_in / name).write_text(content)
    assert (installed(package, "stages.build") != before) is felt


def test_an_entry_point_of_no_package_is_left_to_the_registry(package: Path, plug_in: Path) -> None:
    (plug_in / "one_saw.py").unlink()
    assert "installed:one_saw.py" not in installed(package, "stages.build")


def test_what_is_left_out_is_followed_all_the_same(package: Path) -> None:
    without = frozenset({"privpipe.perturb", "privpipe.page"})
    assert list(Sources(package).behind("stages.draw", without)) == [
        "privpipe/perturb/base.py",
        "privpipe/perturb/blur.py",
        "stages/draw.py",
    ]


@pytest.mark.parametrize("module", ["stages.gone", "numpy", "privpipe.page.html"])
def test_missing_code_is_told(package: Path, module: str) -> None:
    with pytest.raises(PrivpipeError) as caught:
        Sources(package).behind(module)
    assert str(caught.value) == f"there is no code {module} in {package}. Restore it, or correct its name."


def test_code_that_cannot_be_read_is_told(package: Path) -> None:
    (package / "privpipe" / "page.py").write_text("TEMPLATE = (")
    with pytest.raises(
        PrivpipeError, match=r"cannot read the code .*page\.py: .*never closed.* Correct or restore it\."
    ):
        Sources(package).behind("stages.draw")


def test_the_modules_behind_a_stage_are_those_that_grimp_finds() -> None:
    # Without grimp's cache: one made for other packages passes for up to date after a change.
    graph = grimp.build_graph(*PACKAGES, cache_dir=None, exclude_type_checking_imports=True)
    for importer, imports in CUT.items():
        for imported in imports:
            graph.remove_import(importer=importer, imported=imported)
    for importer, registry in REGISTRIES.items():
        for found in graph.find_children(registry.folder):
            graph.add_import(importer=importer, imported=found)
    for stage, found in behind_stages(ROOT).items():
        assert {path for path in found if path.endswith(".py")} == modules_behind(graph, stage)


def modules_behind(graph: grimp.ImportGraph, stage: str) -> set[str]:
    expected = set()
    for module in graph.find_upstream_modules(module_of(stage)) | {module_of(stage)}:
        path = Path(*module.split("."))
        expected.add((path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")).as_posix())
    return expected


ALONE = ("privpipe", "stages")  # the studies have their results beside them


def test_every_other_file_of_the_packages_is_named_by_a_module_beside_it() -> None:
    """Otherwise no stage would feel it."""
    sources = Sources(ROOT)
    modules = [path for package in ALONE for path in (ROOT / package).rglob("*.py")]
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in modules]
    felt = {path for name in names for path in sources.behind(name.removesuffix(".__init__"))}
    others = {
        path.relative_to(ROOT).as_posix()
        for package in ALONE
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert others and others <= felt


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages. Tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("code")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def behind_stages(root: Path) -> dict[str, dict[str, str]]:
    sources = Sources(root)
    return {stage: sources.behind(module_of(stage)) for stage in STAGES}


@pytest.fixture(scope="module")
def before(copied: Path) -> dict[str, dict[str, str]]:
    return behind_stages(copied)


def test_the_stages_are_all_that_there_are() -> None:
    names = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert names == {*(stage for stage in STAGES if "." not in stage), "__init__", "code"}
    pipelines = [path.parent for path in (ROOT / "studies").glob("*/dvc.yaml")]
    files = [path for folder in pipelines for path in folder.glob("*.py")]
    commands = [path for path in files if "@click.command" in path.read_text()]
    named = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in commands}
    assert named == {stage for stage in STAGES if "." in stage}


@pytest.mark.parametrize("path", CHANGES)
def test_a_changed_line_is_felt_by_exactly_the_stages_that_can_feel_it(
    path: str, copied: Path, before: dict[str, dict[str, str]]
) -> None:
    feeling = CHANGES[path]
    file, text = copied / path, (copied / path).read_text()
    file.write_text(f"{text}\nADDED = 1\n")
    after = behind_stages(copied)
    file.write_text(text)
    assert {stage for stage in STAGES if after[stage] != before[stage]} == feeling
    for stage in feeling:
        assert {name for name in after[stage] if after[stage][name] != before[stage][name]} == {path}


def test_comments_and_docstrings_are_felt_by_no_stage(copied: Path, before: dict[str, dict[str, str]]) -> None:
    kept = {path: path.read_text() for path in copied.rglob("*.py")}
    for path, text in kept.items():
        commented = text.replace('."""\n', '. And more.\n\n    At length.\n    """\n')
        path.write_text(f"# A comment.\n{commented}\n# Another.\n")
    after = behind_stages(copied)
    for path, text in kept.items():
        path.write_text(text)
    assert after == before


def test_the_stage_writes_a_file_for_each_stage(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--folder", str(tmp_path / ".code"), "keygen", "studies.paper.group"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / ".code").iterdir()) == ["group.txt", "keygen.txt"]
    for name, module in (("keygen", "stages.keygen"), ("group", GROUP)):
        lines = (tmp_path / ".code" / f"{name}.txt").read_text().splitlines()
        assert {line[66:]: line[:64] for line in lines} == Sources(ROOT).behind(module)


def test_the_stage_refuses_a_stage_that_is_not_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--folder", str(tmp_path), "retrain"])
    assert done.exit_code == 1
    assert "there is no code stages.retrain in" in done.output
