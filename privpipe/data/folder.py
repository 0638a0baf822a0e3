"""The owner's own images: a folder with one sub-folder per class, or with train/, val/ and test/ above the classes.

index = scan(Path("images"))
index.class_names, len(index.paths)
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privpipe.data.image_files import SUFFIXES, find_images, is_image_name
from privpipe.data.split import Rows
from privpipe.errors import PrivpipeError
from privpipe.store import MAX_CLASSES, SPLITS

logger = logging.getLogger(__name__)

LAYOUT = "one sub-folder per class, such as cat/ and dog/, or train/, val/ and test/ with the classes in each"


@dataclass(frozen=True, eq=False)
class FolderIndex:
    """Which images there are, and of what; their pixels stay in their files.

    Attributes:
        paths: N files, sorted by part, class and path.
        labels: (N,) int64, each an index into `class_names`.
        class_names: the names of the sub-folders, sorted.
        parts: for `train`, and for `val` and `test` where there is a folder for it, its rows of `paths`.
            A folder without such parts has all its images in `train`.
    """

    paths: list[Path]
    labels: Rows
    class_names: tuple[str, ...]
    parts: dict[str, Rows]


def scan(root: Path) -> FolderIndex:
    """List the images below a folder by class (see `find_images`). The classes are those of all parts together.

    Images that lie outside the classes are left out, with a warning.

    Raises:
        PrivpipeError: there is no such folder, it has another layout, or fewer than two classes, or a class
            without images to train with.
    """
    if not os.path.isdir(root):  # unlike Path.is_dir, False where it may not be looked at
        kind = "is not a folder" if os.path.lexists(root) else "does not exist"
        raise PrivpipeError(f"data.path={root} {kind}. Give the path of a folder with {LAYOUT}.")
    folders = _layout(root)
    names = sorted({name for folder in folders.values() for name in _subfolders(folder)})
    _check_names(root, names)
    paths: list[Path] = []
    labels: list[int] = []
    parts: dict[str, Rows] = {}
    for part, folder in folders.items():
        start = len(paths)
        for label, name in enumerate(names):
            found = find_images(folder / name) if os.path.isdir(folder / name) else []
            if part == "train" and not found:
                raise PrivpipeError(
                    f"class {name!r} has no images ({', '.join(sorted(SUFFIXES))}) in {folder / name}. "
                    "Put some there, or take the class away."
                )
            paths += found
            labels += [label] * len(found)
        parts[part] = np.arange(start, len(paths))
    _warn_of_strays({root, *folders.values()})
    return FolderIndex(paths, np.array(labels, np.int64), tuple(names), parts)


def scan_public(root: Path, owned: Path | None = None) -> FolderIndex:
    """List all images below a folder, in whatever sub-folders, as the one class `public`.

    Args:
        owned: the folder of the owner's own images, which must not be among them.

    Raises:
        PrivpipeError: there is no such folder, it has no images, or it is the owner's or above or below it.
    """
    if owned is not None:
        one, other = root.resolve(), owned.resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise PrivpipeError(
                f"data.public={root} and data.path={owned} share images: the adversary would hold your originals. "
                "Give a folder of other images, or a share of your own, such as 0.1."
            )
    paths = find_images(root) if os.path.isdir(root) else []
    if not paths:
        what = "has no images" if os.path.isdir(root) else "is not a folder"
        raise PrivpipeError(
            f"data.public={root} {what}. Give a folder of images ({', '.join(sorted(SUFFIXES))}) that are not among "
            "yours, or a share of your own, such as 0.1."
        )
    return FolderIndex(paths, np.zeros(len(paths), np.int64), ("public",), {"train": np.arange(len(paths))})


def _layout(root: Path) -> dict[str, Path]:
    """The folders that hold the classes, by part; `{"train": root}` without parts."""
    names = _subfolders(root)
    # A class may be called "train" too; what tells a part is that there are folders in it.
    parts = [name for name in SPLITS if name in names and _subfolders(root / name)]
    if not parts:
        return {"train": root}
    others = sorted(set(names) - set(parts))
    if others or "train" not in parts:
        found = ", ".join(f"{name}/" for name in names)
        raise PrivpipeError(
            f"data.path={root} mixes layouts: it holds {found}, and in {', '.join(parts)} there are folders as if for "
            "classes. With parts, train/ is required, val/ and test/ are optional, and nothing else may stand beside "
            "them. Rename or move folders to fit."
        )
    return {name: root / name for name in parts}


def _subfolders(folder: Path) -> list[str]:
    """Names of the visible folders in a folder, sorted; without links that lead back to it or above it."""
    try:
        above = {folder.resolve(), *folder.resolve().parents}
        names = [
            entry.name
            for entry in os.scandir(folder)
            if not entry.name.startswith(".")
            and entry.is_dir()
            and not (entry.is_symlink() and Path(entry.path).resolve() in above)
        ]
    except OSError as error:
        raise PrivpipeError(f"cannot list {folder}: {error.strerror}. Check the path and its rights.") from error
    return sorted(names)


def _check_names(root: Path, names: list[str]) -> None:
    if len(names) < 2:
        found = f"only the class {names[0]!r}" if names else "no sub-folders"
        raise PrivpipeError(f"data.path={root} holds {found}; at least two classes are needed: {LAYOUT}.")
    if len(names) > MAX_CLASSES:
        raise PrivpipeError(f"data.path={root} holds {len(names):,} classes; at most {MAX_CLASSES:,} are possible.")
    for name in names:
        if not name.isprintable():  # also bytes that are no UTF-8
            raise PrivpipeError(f"the class name {name!r} in {root} has characters that cannot be shown. Rename it.")


def _warn_of_strays(folders: set[Path]) -> None:
    for folder in sorted(folders):
        strays = sum(is_image_name(entry.name) and entry.is_file() for entry in os.scandir(folder))
        if strays:
            logger.warning("%d images lie in %s itself, in no class: they are left out", strays, folder)
