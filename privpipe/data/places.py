"""Where the owner's files lie, or will: paths as parameters give them, and whether git would take what lies there.

root = given_path("data.path", "$IMAGES")
refuse_folder("data.path", root)
refuse_files("data.path", scan(root).paths)
"""

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from privpipe.errors import PrivpipeError

SHOWN = 3  # files named in an error
OTHER_REPOSITORY = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"}
REMEDY = "Put them outside of the clone, or below data/private/ or data/raw/, which git ignores"


def given_path(name: str, text: str) -> Path:
    """The path that a parameter gives, with ~ and environment variables ($NAME, ${NAME}) put in.

    Parameters are committed; a variable keeps the path itself out of git.

    Raises:
        PrivpipeError: a variable is not set.
    """
    path = os.path.expandvars(text)
    missing = [word for word in re.findall(r"\$\{?(\w+)", text) if word not in os.environ]
    if missing and not os.path.lexists(os.path.expanduser(path)):
        raise PrivpipeError(
            f"{name}={text} names the environment variable {missing[0]}, which is not set. Set it "
            f"(`export {missing[0]}=/path/to/your/files`), or give the path itself."
        )
    return Path(path).expanduser()


def refuse_folder(name: str, folder: Path) -> None:
    """Refuse a folder that is or contains this clone, or of which git would take any file. Nothing in it is opened.

    What git ignores may lie in the clone. A folder elsewhere is none of ours, even in somebody's own repository.

    Raises:
        PrivpipeError: see above; or git cannot be asked.
    """
    place = Path(os.path.realpath(folder))
    for tree in _work_trees():
        if tree.is_relative_to(place):
            what = "is" if tree == place else "contains"
            raise PrivpipeError(
                f"{name}={folder} {what} the clone {tree}: its own figures would be taken for images, and the "
                "images lie where git takes them. Give a folder of images alone, outside the clone."
            )
        if place.is_relative_to(tree):
            listing = ("--literal-pathspecs", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
            listed = _git(name, tree, *listing, "--", str(place))
            _refuse(name, folder, tree, [file for file in listed.split("\0") if file], "originals")


def refuse_files(name: str, files: Iterable[Path], published: str = "originals") -> None:
    """Refuse files that git would take, wherever links to them lie. Nothing in them is read, and they need not exist.

    Args:
        published: what others would get to see, for the message.

    Raises:
        PrivpipeError: see above; or git cannot be asked.
    """
    places = {os.path.realpath(file) for file in files}
    for tree in _work_trees():
        inside = sorted(place for place in places if Path(place).is_relative_to(tree))
        if inside:
            answer = _git(name, tree, "check-ignore", "-z", "--stdin", said="\0".join(inside))
            taken = sorted(set(inside) - set(answer.split("\0")))
            _refuse(name, None, tree, [os.path.relpath(place, tree) for place in taken], published)


def _refuse(name: str, folder: Path | None, tree: Path, taken: list[str], published: str) -> None:
    if not taken:
        return
    shown = ", ".join(taken[:SHOWN]) + (f" and {len(taken) - SHOWN} more" if len(taken) > SHOWN else "")
    given = f"{name}={folder} lies" if folder else f"files of {name} lie"
    raise PrivpipeError(
        f"{given} in the clone {tree}, and the next `git add --all` would take {shown}: {published} would be "
        f"published. {REMEDY} (`git check-ignore PATH` tells)."
    )


def _work_trees() -> list[Path]:
    """The git work trees that this process works in: around the current folder, and those that share a repository
    with one of these. An experiment that DVC runs in `.dvc/tmp` has a repository of its own there, inside the clone."""
    here = Path(os.path.realpath(os.getcwd()))
    around = [folder for folder in (here, *here.parents) if os.path.lexists(folder / ".git")]
    trees = {os.path.realpath(tree): None for tree in around}
    for tree in around:
        try:
            listed = _run(tree, "worktree", "list", "--porcelain").stdout
        except OSError:
            break  # no git: whoever needs an answer of it says so
        for line in listed.splitlines():
            if line.startswith("worktree "):
                trees[os.path.realpath(line.removeprefix("worktree "))] = None
    return [Path(tree) for tree in trees]


def _git(name: str, tree: Path, *arguments: str, said: str = "") -> str:
    """What git answers; check-ignore exits with 1 for "none of them"."""
    try:
        done = _run(tree, *arguments, said=said)
        if done.returncode in (0, 1):
            return done.stdout
        reason = done.stderr.strip()
    except OSError as error:
        reason = error.strerror or str(error)
    raise PrivpipeError(
        f"files of {name} lie in the clone {tree}, and git cannot say whether it ignores them ({reason}). {REMEDY}, "
        "and see that git runs here."
    )


def _run(tree: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    # A hook's GIT_DIR or GIT_INDEX_FILE would have git answer for another repository.
    environment = {key: value for key, value in os.environ.items() if key not in OTHER_REPOSITORY}
    return subprocess.run(
        ["git", "-C", str(tree), *arguments],
        input=said,
        env=environment,
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )
