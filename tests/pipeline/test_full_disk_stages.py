"""Every output of every stage on a full disk: our message, exit code 1, and not even half a file."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml_dvc
from disks import fill, tiny_disk
from projects import Project, environment

pytestmark = pytest.mark.pipeline

STAGES = (
    *("download", "keygen", "perturb", "leak", "reference_classifier", "train"),
    *("evaluate", "descramble", "attack", "score", "report"),
)
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
module, sys.argv = sys.argv[1], sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
# As if space had been there when it was asked for, and was taken while the stage worked.
FULL_LATER = """
import runpy, sys
from privpipe import files
files.need_space = lambda path, size: None
module, sys.argv = sys.argv[1], sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def command(project: Project, stage: str, out: Path, program: str | None = None) -> list[str]:
    """The stage's command with every output below `out` instead."""
    words = shlex.split(yaml_dvc.stages(project.folder)[stage]["cmd"])
    entries = yaml_dvc.stages(project.folder)[stage]
    made = [*entries.get("outs", []), *entries.get("metrics", [])]
    outputs = [entry if isinstance(entry, str) else next(iter(entry)) for entry in made]
    words = [str(out / word) if word in outputs else word for word in words]
    for option in ("--folder", "--figures"):
        if option in words:
            words[words.index(option) + 1] = str(out / "folder")
    head = ["python", "-c", program] if program else ["python", "-m"]
    return [*head, *words[2:]]


def expect_refused(project: Project, words: list[str], message: str) -> str:
    done = subprocess.run(words, cwd=project.folder, env=environment(), text=True, capture_output=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_of_60_kilobytes(reproduced: Project, stage: str, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        words = command(reproduced, stage, disk)
        expect_refused(reproduced, words, r"Error: .* needs [0-9,]+ bytes, and its disk has [0-9,]+ free; nothing was")
        assert files(disk) == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills_up_during_the_work(reproduced: Project, stage: str, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        fill(disk)
        words = command(reproduced, stage, disk, FULL_LATER)
        shown = expect_refused(reproduced, words, r"Error: (no space left while writing|cannot write) .*")
        assert files(disk) == ["filler"]
        for kept in re.findall(r"it is kept in (\S+)\. Once there is space", shown):
            for path in Path(kept).iterdir():
                path.unlink()
            Path(kept).rmdir()
        assert ("it is kept in" in shown) == (stage in ("train", "attack", "reference_classifier"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_limit_to_the_size_of_files(reproduced: Project, stage: str, tmp_path: Path) -> None:
    words = command(reproduced, stage, tmp_path, LIMITED)
    expect_refused(reproduced, words, r"Error: no space left while writing .*")
    assert files(tmp_path) == []


def test_a_trained_model_that_did_not_fit_is_put_into_place_and_dvc_goes_on(project: Project, tmp_path: Path) -> None:
    """Word for word what the message says; the stage is not run a second time."""
    before = {path: project.read(path) for path in ("models/model.safetensors", "plots/training.csv")}
    reference_classifier = project.read("models/reference_classifier.safetensors")
    with tiny_disk(project.folder / "models") as disk:
        fill(disk)
        shown = expect_refused(
            project, command(project, "train", Path(), FULL_LATER), "The result is not lost: it is kept in"
        )
    (project.folder / "models").mkdir(exist_ok=True)
    for path in (*before, "metrics/train.json", "metrics/times/train.json"):
        (project.folder / path).unlink(missing_ok=True)  # as DVC does before it runs a stage
    for line in re.findall(r"^  (\S.*)$", shown, re.MULTILINE):
        done = project.run(*shlex.split(line))
    assert "Running stage 'train'" not in done.stdout
    assert {path: project.read(path) for path in before} == before
    assert project.read("models/reference_classifier.safetensors") == reference_classifier
    assert "up to date" in project.dvc("repro")


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "data/perturbed.h5", "--sheet", "DISK/sheet.png"),
        ("export", "--out", "DISK/model.onnx"),
        ("key", "new", "DISK/key.json"),
        ("perturb", "--key", "data/private/key.json", "--out", "DISK/x.png", "plots/method.png"),
    ],
    ids=lambda words: str(words[0]),
)
def test_the_command_line_on_a_full_disk(reproduced: Project, words: tuple[str, ...], tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        fill(disk)
        command = ["privpipe", *(word.replace("DISK", str(disk)) for word in words)]
        expect_refused(reproduced, command, "Error: (no space left while writing|cannot write)")
        assert files(disk) == ["filler"]
