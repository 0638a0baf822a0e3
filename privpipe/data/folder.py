"""The owner's own images: a folder with one sub-folder per class, or with train/, val/ and test/ above the classes.

index = scan(Path("images"))
index.class_names, len(index.paths)
"""

import logging
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from privpipe.data.groups import FOLDERS, Groups, by_folder, numbered, read_table
from privpipe.data.listing import SUFFIXES, SYSTEM_FOLDERS, LeftOut, is_image, list_images
from privpipe.data.split import Rows
from privpipe.errors import PrivpipeError
from privpipe.store import MAX_CLASSES, SPLITS

logger = logging.getLogger(__name__)

LAYOUT = "one sub-folder per class, such as cat/ and dog/, or train/, val/ and test/ with the classes in each"
PARTS = {  # what folders of parts are called, in any case
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
NO_CLASS = "lies in no class"


@dataclass(frozen=True, eq=False)
class FolderIndex:
    """Which images there are, and of what; their pixels stay in their files.

    Attributes:
        paths: N files, sorted by part, class and path.
        labels: (N,) int64, each an index into `class_names`.
        class_names: the names of the sub-folders, sorted.
        parts: for `train`, and for `val` and `test` where there is a folder for it, its rows of `paths`.
            A folder without such parts has all its images in `train`.
        groups: (N,) int64, equal for images that must not be parted, such as those of one patient; None without groups.
        left_out: the files that were not taken.
    """

    paths: list[Path]
    labels: Rows
    class_names: tuple[str, ...]
    parts: dict[str, Rows]
    groups: Rows | None = None
    left_out: tuple[LeftOut, ...] = ()


def scan(root: Path, groups: Groups = None) -> FolderIndex:
    """List the images below a folder by class (see `list_images`). The classes are those of all parts together.

    Images that lie outside the classes are left out, with a warning.

    Args:
        groups: None, `folders` for those below each class, or a CSV file (see `read_table`), which then says the
            classes as well.

    Raises:
        PrivpipeError: there is no such folder, it has another layout, or fewer than two classes, a class without images
            to train with, or a group in two parts.
    """
    if not os.path.isdir(root):  # unlike Path.is_dir, False where it may not be looked at
        kind = "is not a folder" if os.path.lexists(root) else "does not exist"
        raise PrivpipeError(f"data.path={root} {kind}. Give the path of a folder with {LAYOUT}.")
    index = _scan_table(root, groups) if isinstance(groups, Path) else _scan_folders(root)
    if groups == FOLDERS:
        index = replace(index, groups=by_folder(index.paths, _classes(root, index)))
    if index.groups is not None:
        _check_parts(index, index.groups)
    return index


def _scan_table(root: Path, table: Path) -> FolderIndex:
    """The images that a CSV file names, with its classes and groups."""
    images, left_out = list_images(root)
    rows = read_table(table, root)
    paths = sorted(rows, key=str)
    names = sorted({rows[path].label for path in paths})
    _check_names(table, names)
    labels = np.array([names.index(rows[path].label) for path in paths], np.int64)
    others = [LeftOut(path, f"not in {table.name}") for path in images if path not in rows]
    groups = numbered([rows[path].group for path in paths])
    parts = {"train": np.arange(len(paths))}
    return FolderIndex(paths, labels, tuple(names), parts, groups, (*left_out, *others))


def _scan_folders(root: Path) -> FolderIndex:
    folders = _layout(root)
    names = sorted({name for folder in folders.values() for name in _subfolders(folder)})
    _check_names(root, names)
    paths: list[Path] = []
    labels: list[int] = []
    parts: dict[str, Rows] = {}
    left_out = _strays({root, *folders.values()})
    for part, folder in folders.items():
        start = len(paths)
        for label, name in enumerate(names):
            images, others = list_images(folder / name) if os.path.isdir(folder / name) else ([], [])
            if part == "train" and not images:
                raise PrivpipeError(
                    f"class {name!r} has no images ({', '.join(sorted(SUFFIXES))}) in {folder / name}. "
                    "Put some there, or take the class away."
                )
            if images:
                _refuse_inner_parts(folder / name)
            paths += images
            left_out += others
            labels += [label] * len(images)
        parts[part] = np.arange(start, len(paths))
    return FolderIndex(paths, np.array(labels, np.int64), tuple(names), parts, left_out=tuple(left_out))


def _classes(root: Path, index: FolderIndex) -> list[Path]:
    """The folder of each image's class."""
    folders = _layout(root)
    part_of = {int(row): part for part, rows in index.parts.items() for row in rows}
    return [folders[part_of[row]] / index.class_names[label] for row, label in enumerate(index.labels)]


def _check_parts(index: FolderIndex, groups: Rows) -> None:
    """Refuse a group of which train/, val/ and test/ each have some."""
    seen: dict[int, str] = {}
    for part, rows in index.parts.items():
        for group in np.unique(groups[rows]).tolist():
            if seen.setdefault(group, part) != part:
                first = index.paths[int(rows[groups[rows] == group][0])]
                raise PrivpipeError(
                    f"the group of {first} lies in both {seen[group]}/ and {part}/, so that the sets are not "
                    "independent. Move it to one side, or set data.groups to null."
                )


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
                "Give a folder of other images, or a fraction of your own, such as 0.1."
            )
    paths, left_out = list_images(root) if os.path.isdir(root) else ([], [])
    if not paths:
        what = "has no images" if os.path.isdir(root) else "is not a folder"
        raise PrivpipeError(
            f"data.public={root} {what}. Give a folder of images ({', '.join(sorted(SUFFIXES))}) that are not among "
            "yours, or a fraction of your own, such as 0.1."
        )
    every = {"train": np.arange(len(paths))}
    return FolderIndex(paths, np.zeros(len(paths), np.int64), ("public",), every, left_out=tuple(left_out))


def with_classes(index: FolderIndex, root: Path, class_names: tuple[str, ...]) -> FolderIndex:
    """Public images with the owner's classes, where they are sorted in the same way; else as they are.

    They are where each lies in a folder of such a name just below `root`, and each of these has images. Where only some
    of the names are the owner's, a warning says what is in the way.

    Args:
        index: from `scan_public`.
    """
    folders = [path.relative_to(root).parts[0] if path.parent != root else "" for path in index.paths]
    found = set(folders)
    if found == set(class_names):
        number = {name: label for label, name in enumerate(class_names)}
        return replace(index, class_names=class_names, labels=np.array([number[name] for name in folders], np.int64))
    if found & set(class_names):
        missing = ", ".join(f"no image in {name}/" for name in class_names if name not in found)
        others = ", ".join(f"images in {name or root.name}/" for name in sorted(found - set(class_names)))
        logger.warning(
            "the classes of the public images are not used (%s): each of your classes must have some, and no others",
            ", ".join(filter(None, (missing, others))),
        )
    return index


def _layout(root: Path) -> dict[str, Path]:
    """The folders that hold the classes, by part; `{"train": root}` without parts."""
    names = _subfolders(root)
    # A class may be called "train" too; what tells a part is that there are folders in it.
    parts = [name for name in names if name.lower() in PARTS and _subfolders(root / name)]
    if not parts:
        if len(names) > 1 and all(name.lower() in PARTS for name in names):
            listed = ", ".join(f"{name}/" for name in names)
            raise PrivpipeError(
                f"data.path={root} holds {listed}, and these hold images rather than classes: they are parts of a set, "
                f"not classes. Sort the images by class: {LAYOUT}."
            )
        return {"train": root}
    others = sorted(set(names) - set(parts))
    folders = {PARTS[name.lower()]: root / name for name in parts}
    if others or "train" not in folders:
        listed = ", ".join(f"{name}/" for name in names)
        raise PrivpipeError(
            f"data.path={root} mixes layouts: it holds {listed}, and in {', '.join(parts)} there are folders as if for "
            "classes. With parts, train/ is required, val/ and test/ are optional, and nothing else may stand beside "
            "them. Rename or move folders to fit."
        )
    if len(folders) < len(parts):
        raise PrivpipeError(
            f"data.path={root} holds {', '.join(f'{name}/' for name in parts)}, two of which are the same part. Merge "
            "them, or rename one."
        )
    return {part: folders[part] for part in SPLITS if part in folders}


def _refuse_inner_parts(folder: Path) -> None:
    """Refuse a class whose folder is divided into train, val and test: the division would be lost."""
    inner = [name for name in _subfolders(folder) if name.lower() in PARTS]
    if len({PARTS[name.lower()] for name in inner}) > 1:
        raise PrivpipeError(
            f"{folder} holds {', '.join(f'{name}/' for name in inner)}: parts stand above the classes, not in them. "
            f"Move them: {LAYOUT}."
        )


def _subfolders(folder: Path) -> list[str]:
    """Names of the visible folders in a folder, sorted; without links that lead back to it or above it."""
    try:
        above = {folder.resolve(), *folder.resolve().parents}
        names = [
            entry.name
            for entry in os.scandir(folder)
            if not entry.name.startswith(".")
            and entry.name.lower() not in SYSTEM_FOLDERS
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


def _strays(folders: set[Path]) -> list[LeftOut]:
    """Images beside the classes, with a warning for each folder."""
    out = []
    for folder in sorted(folders):
        files = sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_file())
        images = [path for path in files if is_image(path)]
        if images:
            logger.warning("%d images lie in %s itself, in no class: they are left out", len(images), folder)
        out += [LeftOut(path, NO_CLASS) for path in images]
    return out


def warn_of_left_out(index: FolderIndex) -> None:
    """One line for all files that were not taken, by reason; those in no class have had theirs."""
    reasons = Counter(one.reason for one in index.left_out if one.reason != NO_CLASS)
    if reasons:
        listed = "; ".join(f"{count:,}: {reason}" for reason, count in reasons.most_common())
        logger.warning("%d files are not taken for images (%s)", sum(reasons.values()), listed)
