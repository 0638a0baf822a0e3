"""A clone without any data: the commands that a user tries first end well, and say nothing that is not about them."""

import subprocess
from pathlib import Path

import pytest
from projects import Project, environment

pytestmark = pytest.mark.pipeline

STUDIES = ("study", "studies", "survey")


def clone(source: Project, folder: Path) -> Project:
    subprocess.run(["git", "clone", "--quiet", source.folder, folder], check=True, env=environment())
    return Project(folder)


def test_experiments_are_run_applied_checked_out_pushed_and_pulled(reproduced: Project, tmp_path: Path) -> None:
    fresh = clone(reproduced, tmp_path / "fresh")
    fresh.dvc("checkout", "--allow-missing")  # nobody has the data yet
    fresh.dvc("exp", "run", "--name", "first")
    said = [fresh.dvc("exp", "run", "--name", "second", "-S", "attack.targets=20")]
    for name in ("first", "second"):
        said.append(fresh.dvc("exp", "apply", name))
        said.append(fresh.dvc("checkout"))
        status = fresh.dvc("status")
        assert "up to date" in status
        said.append(status)
    # Against the last commit, whose results this machine never made.
    assert fresh.json("params", "diff", "--json")["params.yaml"] == {
        "attack.targets": {"old": 30, "new": 20, "diff": -10}
    }
    assert "l1_ssim" in fresh.json("metrics", "diff", "--json", "--all")["metrics/privacy.json"]
    fresh.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "remote"))
    said += [fresh.dvc(command) for command in ("repro", "push", "pull", "checkout")]
    for text in said:
        assert "WARNING" not in text and "ERROR" not in text, text
        assert not any(f"{name}/" in text for name in STUDIES), text

    fresh.commit("second")
    other = clone(fresh, tmp_path / "other")
    other.dvc("pull", "--allow-missing")  # what is private was never pushed
    for path in ("data/perturbed.h5", "models/model.safetensors"):
        assert other.read(path) == fresh.read(path)
    assert not list(other.folder.glob("data/private/*.*"))
    assert "ERROR" not in other.dvc("checkout", "--allow-missing")


@pytest.mark.parametrize("study", ["paper", "survey"])
def test_the_root_reads_nothing_of_a_study(reproduced: Project, tmp_path: Path, study: str) -> None:
    fresh = clone(reproduced, tmp_path / "fresh")
    declared = fresh.folder / "studies" / study / "dvc.yaml"
    assert declared.exists()
    declared.write_text("stages: [broken")
    assert "studies" not in fresh.dvc("status")
    assert "studies" not in fresh.dvc("stage", "list", "--all")
