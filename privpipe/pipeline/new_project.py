"""A DVC project of a user's own, which runs the installed package: what `privpipe init` sets up.

Its files are those of privpipe's own repository, of which the wheel has copies (`package-dir` in pyproject.toml). The
repository differs in three ways, and `project_file` takes them out: what is of it alone stands at the end of a file;
the stages run from its folder `stages`, not from the package; and DVC sees its code change, which it cannot where the
package is installed.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import privpipe
from privpipe.data.audit import Audit
from privpipe.data.folder import scan
from privpipe.data.folder_split import TEST_FRACTION
from privpipe.data.groups import FOLDERS, given_groups
from privpipe.data.image_files import read_image
from privpipe.data.places import OTHER_REPOSITORY, given_path
from privpipe.errors import PrivpipeError
from privpipe.files import write_text
from privpipe.params import check_params

FILES = ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", "out/.gitignore")
README = Path(__file__).with_name("project_readme.md")
REPOSITORY_ALONE = re.compile(r"\n+ *# Of this repository alone:.*", re.DOTALL)
INSTEAD = re.compile(r"\S.*  # in a project of `privpipe init`: (.*)")
LOOKED_AT = 8  # images at most, for a hint
VALIDATION_FRACTION, VALIDATION_MAX = 0.1, 1000  # of the smallest class; images altogether
PUBLIC_FRACTION, PUBLIC_IMAGES = (0.1, 0.3), 40  # least and most; twice what the attack by a network asks for
FEW = 1000  # images that are left to train with


def project_file(name: str) -> str:
    """One of `FILES` as a new project has it."""
    installed = Path(privpipe.__file__).with_name("template")
    folder = installed if installed.is_dir() else installed.parents[1]  # a clone has no copies: it is the original
    text = REPOSITORY_ALONE.sub("\n", (folder / name).read_text(encoding="utf-8"))
    return INSTEAD.sub(r"\1", text).replace("python -m stages.", "python -m privpipe.stages.")


def own_images(path: str, groups: str | None = None) -> dict[str, Any]:
    """The parameters for a folder of somebody's own images (see `privpipe.data.folder.scan`), by their names.

    They get a real key, a fresh stream of it for each image, and a tenth of them to validate with; of few images, more
    than a tenth of the others are public, so that the attack by a network has enough to learn from. A relative path is
    made absolute; one with an environment variable stays as it is given.

    Args:
        path: of the folder.
        groups: as `data.groups`; a table says which images there are, and of which classes.

    Raises:
        PrivpipeError: there is no such folder or table, or it has another layout, or a variable is not set.
    """
    given = _absolute(path)
    given_table = groups if groups is None or groups == FOLDERS else _absolute(groups)
    index = scan(given_path("data.path", given), given_groups(given_table))
    classes, counts = len(index.class_names), np.bincount(index.labels[index.parts["train"]])
    smallest = int(counts.min())
    drawn = classes * max(1, min(int(VALIDATION_FRACTION * smallest), VALIDATION_MAX // classes))
    left = int(counts.sum()) - (0 if "val" in index.parts else drawn)
    if "test" not in index.parts:
        left -= round(TEST_FRACTION * int(counts.sum()))
    public = np.clip(math.ceil(100 * PUBLIC_IMAGES / max(1, left)) / 100, *PUBLIC_FRACTION)
    return {
        "data.source": "folder",
        "data.path": given,
        "data.groups": given_table,
        "data.n_val": len(index.parts["val"]) if "val" in index.parts else drawn,
        "data.public": float(public),
        "key.seed": None,
        "perturb.scope": "image",
        "model.arch": "baseline",
    }


def _absolute(path: str) -> str:
    return path if path.startswith(("~", "$")) else str(Path(path).absolute())


def first_images_problem(values: Mapping[str, Any]) -> str:
    """Why images of the folder are not read with these parameters, or are nearly black; empty where all is well.

    It is a hint from a few images of each part, given before anything else is done: what a laboratory's files hold is
    often a matter of `data.channels`, `data.stack` or `data.range`.
    """
    nested = YAML(typ="safe", pure=True).load(with_values(project_file("params.yaml"), values))
    data = check_params(nested).data
    paths = scan(given_path("data.path", str(data.path)), given_groups(data.groups)).paths
    # Percentiles of a set are not known yet: those of the image itself tell as well whether it can be read.
    reading = replace(data.reading, range="image") if data.reading.range == "set" else data.reading
    audit, nothing = Audit("ignore", reading), np.empty(0, np.int64)
    try:
        for path in paths[:: -(-len(paths) // LOOKED_AT)]:
            audit.see("train", nothing, [], nothing, read_image(path, data.image_size, reading)[None])
    except PrivpipeError as error:
        return str(error)
    return audit.range_warning()


def few_images_hint(path: str, groups: str | None = None) -> str:
    """What helps where there are few images; empty where there are enough, or none.

    Args: see `own_images`.
    """
    parts = scan(given_path("data.path", path), given_groups(groups)).parts
    if not 0 < len(parts["train"]) < FEW:
        return ""
    return (
        f"{len(parts['train'])} images to draw all sets from are few. It may help to train for longer, with a network "
        "that has normalisation layers: train.recipe: modern, train.batch_size: 16 and train.epochs: 60 in params.yaml."
    )


def parse_setting(text: str) -> tuple[str, Any]:
    """Name and value of `group.name=value`, the value in YAML, as DVC's own `--set-param` reads it."""
    name, equals, value = text.partition("=")
    if not equals or name.count(".") != 1:
        raise PrivpipeError(f"a setting must be GROUP.NAME=VALUE, such as perturb.k=8; got {text!r}.")
    try:
        return name, YAML(typ="safe", pure=True).load(value)
    except (YAMLError, ValueError) as error:  # ValueError: an impossible date
        raise PrivpipeError(
            f"the value of {name} is no valid YAML: {value!r}. Write a number, a word, null or a quoted text."
        ) from error


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """A parameter file with other values; its comments stay.

    Raises:
        PrivpipeError: a parameter is unknown, or a value impossible.
    """
    nested = YAML(typ="safe", pure=True).load(text)
    for name, value in values.items():
        group, key = name.split(".")
        nested.setdefault(group, {})[key] = value
    check_params(nested)
    for name, value in values.items():
        group, key = name.split(".")
        line = re.search(rf"^{group}:\n(?:(?:  .*)?\n)*?  {key}: (\S+)( *)", text, re.MULTILINE)
        assert line is not None  # it was checked
        shown = json.dumps(value, ensure_ascii=False)  # which is YAML too
        padded = f"{shown:{len(line[1] + line[2]) - 1}} " if line[2] else shown  # the comments stay in their column
        text = text[: line.start(1)] + padded + text[line.end() :]
    return text


def create(folder: Path, values: Mapping[str, Any]) -> Iterator[str]:
    """Set up a project in a folder, which may exist if it is empty or in git; yields what was done, line by line.

    Args:
        values: parameters that differ from those of params.yaml, by their names (`perturb.k`).

    Raises:
        PrivpipeError: the folder holds other things, or files that would be overwritten; git or DVC is missing or
            fails; or a value is impossible. Nothing was written then, unless the message says so.
        ModuleNotFoundError: DVC is not installed.
    """
    contents = {name: project_file(name) for name in FILES}
    contents["params.yaml"] = with_values(contents["params.yaml"], values)
    _check_tools()
    tree = _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if tree is None:
        _run(folder, "git", "init", "--quiet", "--initial-branch=main")
        yield f"git: a new repository in {folder}"
    else:
        yield f"git: the repository {tree}, which was there"
    if not (folder / "README.md").exists():
        contents["README.md"] = README.read_text(encoding="utf-8").format(version=privpipe.__version__)
    for name, text in contents.items():
        write_text(folder / name, text)
    yield f"files: {', '.join(sorted(contents))}"
    if (folder / ".dvc").exists():
        yield f"dvc: the project {folder}, which was there"
    else:
        inside = tree is not None and tree != folder.resolve()
        _run(folder, sys.executable, "-m", "dvc", "init", *(["--subdir"] if inside else []))
        _run(folder, sys.executable, "-m", "dvc", "config", "core.analytics", "false")
        yield f"dvc: a new project in {folder}, which sends no usage statistics"


def _check_tools() -> None:
    if find_spec("privpipe.stages") is None:
        raise PrivpipeError(
            f"{Path(privpipe.__file__).parent} is not installed, so that no project could run its stages. Run "
            "`pip install 'privpipe[pipeline]'`, or `pip install --editable '.[pipeline]'` in a clone."
        )
    if find_spec("dvc") is None:
        raise ModuleNotFoundError("No module named 'dvc'", name="dvc")
    if shutil.which("git") is None:
        raise PrivpipeError("git is not on the path. Install it (https://git-scm.com); DVC keeps experiments with it.")


def _check_folder(folder: Path) -> Path | None:
    """The git work tree that a folder lies in, or would; None where it is in none.

    Raises:
        PrivpipeError: it may not become a project.
    """
    if not folder.is_dir() and os.path.lexists(folder):
        raise PrivpipeError(f"{folder} is not a folder. Name a new one, or an empty one.")
    taken = [name for name in FILES if os.path.lexists(folder / name)]
    if taken:
        raise PrivpipeError(
            f"{folder} has {', '.join(taken)} already, and nothing is overwritten. Name another folder, or move "
            f"{'it' if len(taken) == 1 else 'them'} away."
        )
    start = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    done = _git(start, "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return Path(done.stdout.rstrip("\n")).resolve()
    if folder.is_dir() and any(folder.iterdir()):
        raise PrivpipeError(
            f"{folder} is not empty and in no git repository. Name a new folder, or run `git init` there."
        )
    return None


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=folder, env=_environment(), capture_output=True, text=True)


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True)
    if done.returncode:
        shown = " ".join(["dvc" if word == sys.executable else word for word in command if word not in ("-m", "dvc")])
        reason = " ".join((done.stderr or done.stdout).split()).rstrip(".")
        raise PrivpipeError(
            f"`{shown}` failed in {folder}: {reason}. Repair that, remove what was "
            "made there, and run `privpipe init` again."
        )


def _environment() -> dict[str, str]:
    """The user's, but that of no git hook, and for a DVC that tells nobody."""
    kept = {name: value for name, value in os.environ.items() if name not in OTHER_REPOSITORY}
    return {**kept, "DVC_NO_ANALYTICS": "1"}
