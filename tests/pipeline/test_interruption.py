"""Ctrl-C and SIGKILL in the middle of each stage: the next `dvc repro` completes and gives the same bytes."""

import os
import signal
import subprocess
import time

import psutil
import pytest
import yaml_dvc
from conftest import Project, environment
from test_repro import digests

pytestmark = pytest.mark.pipeline

STAGES = ("download", "keygen", "perturb", "train", "evaluate", "descramble", "report")
TIMED = {"metrics/train.json", "reports/index.html"}


def interrupt(project: Project, stage: str, how: signal.Signals, share: float) -> None:
    """Run a stage by DVC and send `how` to its process, `share` of the stage's usual time after it began."""
    command = yaml_dvc.commands(project.folder)[stage].split()
    begin = time.monotonic()
    project.run(*command)
    usual = time.monotonic() - begin
    dvc = subprocess.Popen(
        ["dvc", "repro", "--force", "--single-item", "--no-run-cache", stage],
        cwd=project.folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process = psutil.Process(dvc.pid)
        while dvc.poll() is None and not any(
            f"stages.{stage}" in part for c in process.children(True) for part in c.cmdline()
        ):
            time.sleep(0.01)
        assert dvc.poll() is None, "the stage ended before it could be interrupted"
        time.sleep(share * usual)
        os.killpg(dvc.pid, how)
        dvc.wait(60)
    finally:
        if dvc.poll() is None:
            os.killpg(dvc.pid, signal.SIGKILL)
    assert dvc.returncode != 0


@pytest.mark.parametrize(("how", "share"), [(signal.SIGKILL, 0.7), (signal.SIGINT, 0.5)])
def test_an_interrupted_stage_is_made_good_by_the_next_repro(
    project: Project, how: signal.Signals, share: float
) -> None:
    before = digests(project)
    for stage in STAGES:
        interrupt(project, stage, how, share)
        project.dvc("repro", "--no-run-cache", stage)
    project.dvc("repro")
    after = digests(project)
    assert {path for path in before if before[path] != after[path]} <= TIMED
    assert "up to date" in project.dvc("repro")
