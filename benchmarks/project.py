"""A copy of the project to run pipelines in, as tools/demo.sh makes one: `copy_project(folder)`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.child import ROOT


def environment(first: Path | None = None) -> dict[str, str]:
    """This environment's programs first on the path, after those of `first`; a name for git; no analytics."""
    names = {f"GIT_{who}_{what}": "bench@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    folders = [*([str(first)] if first else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {**os.environ, **names, "PATH": os.pathsep.join(folders), "DVC_NO_ANALYTICS": "1"}


def run(folder: Path, *command: str, env: dict[str, str] | None = None) -> str:
    """Run a command in a project; RuntimeError with its output where it fails."""
    done = subprocess.run(command, cwd=folder, env=env or environment(), text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def copy_project(folder: Path) -> Path:
    """The files that git knows, or would (untracked and not ignored), as a repository of its own in `folder`."""
    listed = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--allow-empty", "--message=benchmark")
