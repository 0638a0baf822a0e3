"""The wheel: what it holds, what it does without its extras, and a project of somebody who has no clone."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
from leaks.commands import in_page
from PIL import Image
from projects import ROOT, Project, copy_files, environment
from small_experiment import Experiment

from privpipe import __version__
from privpipe.data.synthetic import draw
from privpipe.pipeline.new_project import FILES

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1200)]

# Modules that an extra is for. All others import without any.
NEED_AN_EXTRA = (
    "privpipe.report.figures",
    "privpipe.report.leaderboard",
    "privpipe.report.page",
    "privpipe.report.privacy_figures",
    "privpipe.data.fetch",
    "privpipe.data.locate",
    "privpipe.nn.export",
    "privpipe.pipeline.steps.download",
    "privpipe.stages.download",
)
# Runs a program as if the packages of all extras were missing.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
{program}
"""
IMPORT_ALL = """
import importlib, pkgutil, privpipe
for module in pkgutil.walk_packages(privpipe.__path__, "privpipe."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError:
        print(module.name)
"""
TINY = " ".join(
    f"-S {setting}"
    for setting in ("train.epochs=1", "train.threads=1", "attack.network_epochs=1", "attack.reference_epochs=1")
)
SECTION = re.compile(r"\n## Without a clone\n(.*?)\n## ", re.DOTALL)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as it is released: the files of git, a source archive of them, and the wheel of that."""
    folder = tmp_path_factory.mktemp("build")
    copy_files(folder / "clone")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "clone"]
    subprocess.run(build, check=True, capture_output=True, text=True, env=environment())
    (path,) = (folder / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installation; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    return folder


def requirements(wheel: Path) -> dict[str, set[str]]:
    """The names of the packages that the wheel asks for, by extra; "" are those of the base installation."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
    found: dict[str, set[str]] = {}
    for line in lines:
        package, extra = re.fullmatch(r"([\w-]+).*?(?:; extra == \"(\w+)\")?", line).groups("")
        found.setdefault(extra, set()).add(package)
    return found


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the installation, outside any clone."""
    path = os.pathsep.join([str(installed / "bin"), environment()["PATH"]])
    outside = {**environment(), "PATH": path, "PYTHONPATH": str(installed), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, cwd=folder, env=outside, text=True, capture_output=True, timeout=900)


@pytest.fixture
def bare(wheel: Path, installed: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Python program, or with words the command `privpipe`, in a base installation."""
    needed = requirements(wheel)
    extras = set().union(*(needed[name] for name in ("pipeline", "onnx", "dask"))) - needed[""]

    def in_base_installation(*words: str, program: str = "") -> subprocess.CompletedProcess[str]:
        program = program or f"from privpipe.cli.main import main\nmain({list(words)}, prog_name='privpipe')"
        script = WITHOUT.format(packages=sorted(extras), program=program)
        return run(installed, tmp_path, sys.executable, "-c", script)

    return in_base_installation


def test_the_wheel_holds_privpipe_alone_all_of_it_and_the_files_of_a_project(wheel: Path) -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "privpipe", "stages"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    ours = {name for name in names if (ROOT / name).is_file()}
    expected = {f"privpipe/{name}" if name.startswith("stages/") else name for name in ours}
    expected |= {f"privpipe/template/{name}" for name in FILES}
    with zipfile.ZipFile(wheel) as archive:
        holds = {name for name in archive.namelist() if ".dist-info/" not in name}
        for name in FILES:
            assert archive.read(f"privpipe/template/{name}") == (ROOT / name).read_bytes()
    assert holds == expected


def test_the_base_installation_asks_for_nothing_of_the_pipeline(wheel: Path) -> None:
    needed = requirements(wheel)
    assert not needed[""] & {"dvc", "jinja2", "matplotlib", "pandas", "requests", "onnx", "onnxruntime", "distributed"}
    assert {"dvc", "jinja2", "matplotlib", "pandas"} < needed["pipeline"]
    assert (needed["onnx"], needed["dask"]) == ({"onnx", "onnxruntime"}, {"distributed"})


def test_every_module_imports_without_extras_unless_an_extra_is_for_it(bare: Callable[..., object]) -> None:
    done = bare(program=IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    failed = done.stdout.split()
    assert failed  # the packages were missing
    assert [name for name in failed if not name.startswith(NEED_AN_EXTRA)] == []


def test_the_library_and_its_commands_work_without_extras(
    bare: Callable[..., subprocess.CompletedProcess[str]], experiment: Callable[..., Experiment]
) -> None:
    use = (
        "import numpy as np, privpipe\nfrom privpipe.data.synthetic import draw\n"
        "images = draw(12, 16, rng=np.random.default_rng(0)).images\n"
        "perturbed = privpipe.perturb(images, 'block_scramble', k=4, key=bytes(range(32)))\n"
        "print(privpipe.__version__, len(privpipe.attack(perturbed, 'block_scramble', k=4)))"
    )
    done = bare(program=use)
    assert done.stdout.split()[0] == __version__, done.stderr
    assert int(done.stdout.split()[1]) > 0
    made = experiment("block_scramble")
    key, image = ("--key", f"{made / 'key.json'}"), f"{made.image_paths[0]}"
    for words, said in (
        (("--version",), f"privpipe, version {__version__}"),
        (("--help",), "Set up a DVC project"),
        (("inspect", f"{made / 'perturbed.h5'}"), "block_scramble"),
        (("perturb", *key, "--params", f"{made / 'params.yaml'}", "--out", "out/look.png", image), "1 image written"),
        (("predict", *key, "--model", f"{made / 'model.safetensors'}", image), "probability"),
    ):
        done = bare(*words)
        assert (done.returncode, said in done.stdout) == (0, True), (words, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("program", "package", "extra"),
    [
        ("from privpipe.cli.main import main\nmain(['export', '--out', 'model.onnx'])", "onnx", "onnx"),
        ("from privpipe.cli.main import main\nmain(['init', 'lab'])", "dvc", "pipeline"),
        (
            "from privpipe.stages.report import main\n"
            "main('--images a --perturbed b --summary c --metrics d --plots e --figures f'.split()"
            " + '--page g --times-page h'.split())",
            "pandas",
            "pipeline",
        ),
    ],
)
def test_what_needs_an_extra_says_so_in_one_line(
    program: str, package: str, extra: str, bare: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = bare(program=program)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: this needs the package {package}, which is not installed. Run `pip install 'privpipe[{extra}]'`.\n"
    )


def short_way() -> list[str]:
    """The commands of the documents for somebody without a clone."""
    found = SECTION.search((ROOT / "docs" / "own-images.md").read_text())
    assert found is not None
    return in_page(found[1])


@pytest.fixture(scope="module")
def lab(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project of somebody who typed the commands of the documents, on small images."""
    root = tmp_path_factory.mktemp("lab")
    for i, image in enumerate(draw(60, 16, rng=np.random.default_rng(0)).images):
        path = root / "images" / ("lichen", "moss", "stone")[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    commands = short_way()
    assert len(commands) < 10
    assert [command.split()[0] for command in commands[:2]] == ["python3", "pip"]  # that is the installation
    script = "\n".join(commands[2:]).replace("/home/me/images", str(root / "images"))
    script = script.replace("--image-size 64", f"--image-size 16 {TINY}")
    # Another experiment is the same stages again, and DVC's own business: its time is saved here.
    script = script.replace("dvc exp run -S train.epochs=30 && ", "")
    script = script.replace("my-image.jpg", str(root / "images" / "moss" / "1.png"))
    done = run(installed, root, "bash", "-e", "-x", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"moss/1\.png\s+(lichen|moss|stone)\s+[01]\.\d{4}", done.stdout)
    return Project(root / "lab")


def test_the_documented_commands_lead_to_a_page_without_a_clone(lab: Project) -> None:
    page = lab.read("reports/index.html").decode()
    assert page.startswith("<!doctype html>") and "block_scramble" in page
    assert lab.metrics("perturb")["key_research"] is False  # own images get a real key
    tracked = lab.run("git", "ls-files").stdout.split()
    assert {"dvc.yaml", "params.yaml", "dvc.lock", ".code/train.txt", "metrics/privacy.json"} <= set(tracked)
    assert not [name for name in tracked if name.endswith((".h5", ".png", ".html", ".safetensors", "key.json"))]


def stages_of_repro(installed: Path, lab: Project) -> list[str]:
    done = run(installed, lab.folder, "dvc", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"Running stage '(\w+)'", done.stdout)


def test_a_project_runs_what_an_upgrade_of_the_package_changed(installed: Path, lab: Project) -> None:
    assert stages_of_repro(installed, lab) == ["code"]
    with (installed / "privpipe" / "scores" / "guarantee.py").open("a") as file:
        file.write("\n# A comment.\n")
    assert stages_of_repro(installed, lab) == ["code"]
    with (installed / "privpipe" / "scores" / "guarantee.py").open("a") as file:
        file.write("ADDED = 1\n")
    assert stages_of_repro(installed, lab) == ["code", "score", "report"]


def test_the_commands_about_a_project_work_in_it(installed: Path, lab: Project) -> None:
    fingerprint = lab.metrics("perturb")["key_fingerprint"]
    shown = run(installed, lab.folder, "privpipe", "key", "list").stdout
    assert f"{fingerprint}  (this project)" in shown
    done = run(installed, lab.folder, "privpipe", "doctor")
    assert done.stdout == f"0 problems found in {lab.folder.resolve()}, 0 repaired\n", done.stderr
