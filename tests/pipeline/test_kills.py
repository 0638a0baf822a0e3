"""SIGKILL of DVC and its stages: `privpipe doctor --fix` and `dvc repro` give the bytes of an undisturbed run."""

import os
import shutil
import signal
import time

import pytest
from projects import Project, started_dvc

from benchmarks.kills import WAYS, digests, kill_rounds

pytestmark = pytest.mark.pipeline


def test_the_same_bytes_after_every_kind_of_kill(project: Project) -> None:
    """`python benchmarks/kills.py` does 40."""
    rounds = list(kill_rounds(project.folder, digests(project.folder), len(WAYS), seed=3))
    assert [one.problem for one in rounds] == [None] * len(WAYS)
    assert sum(one.killed for one in rounds) >= 1


def test_a_killed_dvc_that_left_half_of_its_files(project: Project) -> None:
    """Both were seen after a kill; both end every later command."""
    before = digests(project.folder)
    lock = project.folder / "dvc.lock"
    text = lock.read_text()
    (project.folder / ".dvc/tmp/rwlock").write_text("")
    assert "JSON structure is corrupted" in project.dvc("repro", "--force", "--single-item", "keygen", ok=False)
    lock.write_text(text[: len(text) // 2])
    project.run("privpipe", "doctor", "--fix")
    assert lock.read_text() == text
    assert "up to date" in project.dvc("repro")
    assert digests(project.folder) == before


def test_what_a_killed_experiment_outside_the_workspace_leaves_is_removed(project: Project) -> None:
    standalone = project.folder / ".dvc/tmp/exps/standalone"
    shutil.rmtree(standalone, ignore_errors=True)
    with started_dvc(project, "exp", "run", "--temp", "-S", "data.split_seed=1") as dvc:
        for _ in range(1200):
            if any(standalone.glob("tmp*/data/private/*")) or dvc.poll() is not None:
                break
            time.sleep(0.1)
        os.killpg(dvc.pid, signal.SIGKILL)
        dvc.wait(60)
    (folder,) = standalone.glob("tmp*")
    shown = doctor(project)
    assert f"{folder} is what a killed experiment left" in shown
    project.run("privpipe", "doctor", "--fix")
    assert not folder.exists()
    assert "up to date" in project.dvc("repro")
    project.dvc("exp", "run", "--temp", "-S", "train.epochs=2", "train")
    assert not list(standalone.glob("tmp*"))


def doctor(project: Project) -> str:
    """What the doctor says once the last process has noticed that it was killed."""
    for _ in range(100):
        shown = project.run("privpipe", "doctor", ok=False).stdout
        if "are at work" not in shown:
            return shown
        time.sleep(0.1)
    raise AssertionError(shown)
