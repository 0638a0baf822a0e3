"""Ctrl-C and SIGKILL in the middle of each stage: the next `dvc repro` completes and gives the same bytes."""

import os
import signal
import subprocess
import time
from contextlib import suppress

import psutil
import pytest
from projects import Project, started_dvc
from test_repro import digests

pytestmark = pytest.mark.pipeline

# The last ones first: what a stage reads must be there when it is interrupted.
STAGES = ("report", "score", "attack", "descramble", "evaluate", "train", "perturb", "download", "keygen")
QUICK = ("perturb", "download", "keygen")  # these import no torch
# Seconds after the start of a stage's process: in the middle of its work on a slow machine, then ever earlier.
MOMENTS = (1.5, 0.7, 0.4, 0.2, 0.1, 0.0, 0.0, 0.0)


def interrupt(project: Project, stage: str, how: signal.Signals) -> None:
    """Run a stage by DVC and interrupt it, earlier where it was done before."""
    for moment in MOMENTS[2 if stage in QUICK else 0 :]:
        if run_and_signal(project, stage, how, moment) != 0:
            return
    raise AssertionError(f"{stage} was always done before it could be interrupted")


def run_and_signal(project: Project, stage: str, how: signal.Signals, moment: float) -> int:
    """Send `how` during a DVC run, `moment` seconds after the stage's process began; DVC's exit code."""
    # Children inherit an ignored Ctrl-C, as of a test run in the background of a shell, but not a handled one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with started_dvc(project, "repro", "--force", "--single-item", "--no-run-cache", stage) as dvc:
        while dvc.poll() is None and not stage_runs(dvc.pid, stage):
            time.sleep(0.01)
        with suppress(subprocess.TimeoutExpired):
            dvc.wait(moment)
        # Ctrl-C reaches DVC and the stage, SIGKILL the stage alone: a killed DVC may leave half a dvc.lock, which is
        # DVC's own file and restored from git.
        if stage_runs(dvc.pid, stage) and how == signal.SIGINT:
            os.killpg(dvc.pid, how)
        for process in stage_runs(dvc.pid, stage) if how == signal.SIGKILL else []:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return dvc.wait(60)


def stage_runs(pid: int, stage: str) -> list[psutil.Process]:
    """The descendants of a process that run the stage's Python."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if {stage, f"stages.{stage}"} & set(child.cmdline()):
                    found.append(child)
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_stages_are_made_good_by_the_next_repro(project: Project, how: signal.Signals) -> None:
    before = digests(project)
    for stage in STAGES:
        interrupt(project, stage, how)
    project.dvc("repro", "--no-run-cache")
    assert digests(project) == before
    assert "up to date" in project.dvc("repro")
    assert not list(project.folder.rglob("*.partial"))
