"""A copy of the project in a temporary folder, run small, for tests of whole pipelines."""

import fcntl
import shutil
from pathlib import Path

import pytest
from projects import Project, copy_project


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """A small project after `dvc repro`, committed. Tests must leave it as it is: copy it to change it.

    It is run once: of several processes of a test run the first one runs it, and each has a copy of its own.
    """
    base = tmp_path_factory.getbasetemp()
    first = (base if worker_id == "master" else base.parent) / "reproduced"
    with (first.with_suffix(".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not first.exists():
            making = first.with_suffix(".making")
            making.mkdir()  # fails where the run failed in another process: once is enough
            project = copy_project(making)
            project.dvc("repro")
            project.commit("reproduced")
            making.rename(first)
    folder = tmp_path_factory.mktemp("project") / "reproduced"
    shutil.copytree(first, folder, symlinks=True)
    return Project(folder)


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A copy of the reproduced project that a test may change."""
    folder = tmp_path / "project"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    return Project(folder)
