"""A copy of this project in a temporary folder, and DVC in it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import preloaded

ROOT = Path(__file__).parents[2]
SMALL = {
    "data.source": "synthetic",
    "data.image_size": 16,
    "data.n_train": 150,
    "data.n_val": 50,
    "data.n_test": 60,
    "data.public": 0.2,
    "train.epochs": 1,
    "train.threads": 1,
    "attack.targets": 30,
    "attack.pairs": 20,
    "attack.network_epochs": 1,
    "attack.reference_epochs": 1,
}


@dataclass(frozen=True)
class Project:
    """A checkout to run commands in."""

    folder: Path

    def run(self, *command: str, ok: bool = True, preload: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command with the environment's programs first on the path."""
        done = completed(command, self.folder, environment(preload), timeout=300)
        if ok and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        return done

    def dvc(self, *arguments: str, ok: bool = True, preload: bool = True) -> str:
        """Run DVC; standard output and error together."""
        done = self.run("dvc", *arguments, ok=ok, preload=preload)
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """What a DVC command prints as JSON."""
        return json.loads(self.run("dvc", *arguments).stdout)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", f"--message={message}")

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def metrics(self, name: str) -> dict[str, Any]:
        return json.loads(self.read(f"metrics/{name}.json"))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text that must be there."""
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def secret(self) -> str:
        """The hexadecimal secret of its real key, from the key home of the tests."""
        reference = json.loads(self.read("data/private/key.json"))
        home = Path(os.environ["PRIVPIPE_KEYS"])
        return json.loads((home / f"{reference['fingerprint']}.json").read_text())["secret"]


def completed(
    command: Sequence[str], folder: Path, env: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Workers that `dvc exp run --run-all` leaves behind would hold a pipe open, so that
    output goes to files; and the next command should meet none that is about to leave.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = subprocess.run(command, cwd=folder, env=env, stdout=out, stderr=err, timeout=timeout).returncode
        if "--run-all" in " ".join(command):
            wait_for_workers(folder)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def wait_for_workers(project: Path, seconds: float = 60) -> None:
    """Wait until the workers of a queue have left, some ten seconds after its last experiment.

    One that has not by then is DVC's affair, and holds up nobody here.
    """
    infos = list(project.glob(".dvc/tmp/exps/celery/dvc-exp-worker-*.json"))
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(json.loads(path.read_text())["returncode"] is None for path in infos):
        time.sleep(0.2)


@contextmanager
def started_dvc(project: Project, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run DVC beside the test, in a process group of its own that is over when the block is."""
    dvc = subprocess.Popen(
        ["dvc", *arguments],
        cwd=project.folder,
        env=environment(preload=False),  # signals must reach the stages
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield dvc
    finally:
        if dvc.poll() is None:
            os.killpg(dvc.pid, signal.SIGKILL)


def environment(preload: bool = True) -> dict[str, str]:
    """Like a user's, with this environment's programs first and a git identity.

    Args:
        preload: whether the programs start with the packages of others imported already, which is much faster.
    """
    names = {f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    folders = [*([str(preloaded.folder())] if preload else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    path = os.pathsep.join(folders)
    return {**os.environ, **names, "PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONWARNINGS": "default"}


def copy_files(folder: Path) -> None:
    """Copy the files that git knows, or would (untracked and not ignored)."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def copy_project(folder: Path) -> Project:
    """A copy as a new repository, with the small experiment."""
    copy_files(folder)
    project = Project(folder)
    project.run("git", "init", "--quiet", "--initial-branch=main")
    set_params(project, SMALL)
    project.commit("start")
    return project


def set_params(project: Project, values: dict[str, Any]) -> None:
    """Change values of params.yaml in place, as a user with an editor would: comments and order stay."""
    file = project.folder / "params.yaml"
    lines = file.read_text().splitlines()
    for name, value in values.items():
        group, key = name.split(".")
        start = lines.index(f"{group}:")
        row = next(i for i in range(start + 1, len(lines)) if lines[i].startswith(f"  {key}:"))
        lines[row] = f"  {key}: {json.dumps(value)}"
    file.write_text("\n".join(lines) + "\n")
