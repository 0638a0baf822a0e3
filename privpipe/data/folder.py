"""The owner's own images: a folder with one sub-folder per class, or with train/, val/ and test/ above the classes.

index = scan(Path("images"))
rows = split_folder(index, None, 1000, None, np.random.default_rng(0))
write_folder("images.h5", index, rows, image_size=64)
"""

import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from privpipe.data.image_files import SUFFIXES, find_images, is_image_name, read_image
from privpipe.data.split import Rows, Shuffler, interleave, set_aside, shuffled_by_class, take
from privpipe.errors import PrivpipeError
from privpipe.files import atomic_path, temporary
from privpipe.store import CHUNK_BYTES, MAX_CLASSES, RAW, SPLITS, Header, Writer, create, open_store

logger = logging.getLogger(__name__)

TEST_FRACTION = 0.2  # of each class, where data.n_test is null and there is no test/
MAX_CHUNK = 1024  # images read at once
MAX_LISTED = 20  # unreadable images named in an error

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


def split_folder(
    index: FolderIndex,
    n_train: int | None,
    n_val: int,
    n_test: int | None,
    rng: Shuffler,
    public: float = 0.0,
) -> dict[str, Rows]:
    """Which rows of the index go into train, val, test and public, in random order.

    What `val/` or `test/` does not hold is drawn from the training part. A number asks for a class-balanced set
    (counts differ by at most one), or for all that val/ or test/ holds. Null asks for all, and for a test set that
    must be drawn for 20 % of each class. Of what is left to train with, `public` is that share of each class. Each
    class keeps at least one image to train with.

    Raises:
        PrivpipeError: more images are asked for than there are, or fewer than there are classes.
    """
    classes = len(index.class_names)
    pools = {part: shuffled_by_class(rows, index.labels, classes, rng) for part, rows in index.parts.items()}
    train = pools["train"]
    if "test" in pools:
        test = _from_part(pools["test"], n_test, "test")
    elif n_test is None:
        shares = [max(1, round(len(rows) * TEST_FRACTION)) for rows in train]
        test = interleave([rows[:share] for rows, share in zip(train, shares, strict=True)])
        train = [rows[share:] for rows, share in zip(train, shares, strict=True)]
        _check_left(index, train)
    else:
        _check_count("test", n_test, classes)
        test, train = take(train, n_test, "data.n_test", keep=1)
    if "val" in pools:
        val = _from_part(pools["val"], n_val, "val")
    else:
        _check_count("val", n_val, classes)
        remedy = "" if "test" in pools else ", or a smaller data.n_test"
        val, train = take(train, n_val, "data.n_val", keep=1, remedy=remedy)
    aside, train = set_aside(train, public)
    if n_train is None:
        return {"train": interleave(train), "val": val, "test": test, "public": aside}
    _check_count("train", n_train, classes)
    left = sum(map(len, train))
    chosen = (
        interleave(train) if n_train == left else take(train, n_train, "data.n_train", remedy=", or null for all")[0]
    )
    return {"train": chosen, "val": val, "test": test, "public": aside}


def _check_left(index: FolderIndex, train: list[Rows]) -> None:
    for name, rows in zip(index.class_names, train, strict=True):
        if not len(rows):
            raise PrivpipeError(
                f"class {name!r} has one image, which is too few to train and to test. Add some, or take the class "
                "away."
            )


def _from_part(pool: list[Rows], count: int | None, part: str) -> Rows:
    """`count` rows of a part that has its own folder, or all of them."""
    total = sum(map(len, pool))
    if count is None or count == total:
        if total == 0:
            raise PrivpipeError(f"{part}/ holds no images. Put some there, or remove it to draw them from train/.")
        return interleave(pool)
    _check_count(part, count, len(pool))
    return take(pool, count, f"data.n_{part}", remedy=f", or {total} for all in {part}/")[0]


def _check_count(part: str, count: int, classes: int) -> None:
    if count < classes:
        raise PrivpipeError(
            f"data.n_{part} must hold each of the {classes} classes; got {count}. Use {classes} or more."
        )


def write_folder(
    path: str | Path,
    index: FolderIndex,
    rows: Mapping[str, Rows],
    image_size: int,
    *,
    skip: bool = False,
    threads: int | None = None,
    kind: str = RAW,
    salt: str = "",
) -> None:
    """Read the chosen images (see `read_image`) into one HDF5 file (see `privpipe.store`), with a progress bar.

    The bytes depend on the images, their names and the rows only. Memory does not grow with their number.

    Args:
        rows: of each split; one that is not named stays empty.
        skip: leave out images that cannot be read, with a warning for each, instead of refusing all.
        threads: images read at a time; None for one per processor.
        kind: of the file.
        salt: see `privpipe.salt`.

    Raises:
        PrivpipeError: images cannot be read (the message lists them), none are left of a class or a split, the
            disk is full, or `path` cannot be written.
    """
    shape = (image_size, image_size, 3)
    header = Header(kind, "none", 1, "dataset", index.class_names, (0.0, 255.0), shape, "uint8", salt=salt)
    asked = {split: rows.get(split, np.empty(0, np.int64)) for split in SPLITS}
    # Room for every image cannot be taken back; where some are left out, the others are copied to a smaller file.
    spacious = temporary(Path(path))
    try:
        with create(spacious, header, {name: len(asked[name]) for name in SPLITS}) as writer:
            failures = _read_all(writer, index, asked, image_size, threads or os.cpu_count() or 1)
            if failures and not skip:
                raise PrivpipeError(_list(failures, sum(map(len, asked.values()))))
        if failures:
            good = _without(failures, index, asked, every_class=kind == RAW)
            with create(path, header, {name: len(good[name]) for name in SPLITS}) as writer:
                _copy(spacious, writer, good, kind)
        else:
            with atomic_path(path, private=True) as partial:
                spacious.replace(partial)
    finally:
        spacious.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Failure:
    """An image that cannot be read: its place in a split, and `<path>: <reason>`."""

    split: str
    place: int
    message: str


def _read_all(
    writer: Writer, index: FolderIndex, rows: dict[str, Rows], image_size: int, threads: int
) -> list[_Failure]:
    """Read and write every row; an unreadable image leaves any pixels in its place."""
    failures: list[_Failure] = []
    total = sum(map(len, rows.values()))
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=total, desc="read images", unit="img", disable=None) as bar,
    ):
        for split, start, chosen in _chunks(rows, image_size):
            images = np.zeros((len(chosen), image_size, image_size, 3), np.uint8)
            paths = [index.paths[row] for row in chosen]
            # Pillow decodes without the interpreter's lock, so threads do run side by side.
            for place, problem in enumerate(pool.map(_read_into, paths, images)):
                if problem is not None:
                    failures.append(_Failure(split, start + place, problem))
            writer.write(split, start, images, index.labels[chosen])
            bar.update(len(chosen))
    return failures


def _chunks(rows: dict[str, Rows], image_size: int) -> Iterator[tuple[str, int, Rows]]:
    """Split, first place and rows of pieces that fit into memory."""
    step = max(1, min(MAX_CHUNK, CHUNK_BYTES // (image_size * image_size * 3)))
    for split in SPLITS:
        for start in range(0, len(rows[split]), step):
            yield split, start, rows[split][start : start + step]


def _read_into(path: Path, target: NDArray[np.uint8]) -> str | None:
    """Read an image into `target` (H, W, 3); what is wrong with it, or None."""
    try:
        target[:] = read_image(path, len(target))
    except PrivpipeError as error:
        return str(error)
    return None


def _list(failures: list[_Failure], total: int) -> str:
    """The message for images that cannot be read: all of them at once, as far as one can read them."""
    lines = [f"  {failure.message}" for failure in sorted(failures, key=lambda failure: failure.message)[:MAX_LISTED]]
    if len(failures) > MAX_LISTED:
        lines.append(f"  and {len(failures) - MAX_LISTED:,} more")
    return "\n".join(
        [
            f"{len(failures):,} of {total:,} images cannot be read, and nothing was written:",
            *lines,
            "Repair or remove them, or set data.on_error=skip to leave them out.",
        ]
    )


def _without(failures: list[_Failure], index: FolderIndex, rows: dict[str, Rows], every_class: bool) -> dict[str, Rows]:
    """The places in each split that are left without the failures, which are listed as warnings.

    Args:
        every_class: refuse where nothing is left of a split or of a class to train with.
    """
    for failure in sorted(failures, key=lambda failure: failure.message):
        logger.warning("left out: %s", failure.message)
    logger.warning("%d of %d images were left out", len(failures), sum(map(len, rows.values())))
    bad = {split: [failure.place for failure in failures if failure.split == split] for split in SPLITS}
    good = {split: np.delete(np.arange(len(rows[split])), bad[split]) for split in SPLITS}
    if not every_class:
        return good
    for split in SPLITS:
        if len(rows[split]) and not len(good[split]):
            raise PrivpipeError(f"not one image of the {split} set can be read. See the reasons above.")
    before = set(index.labels[rows["train"]].tolist())
    lost = before - set(index.labels[rows["train"][good["train"]]].tolist())
    if lost:
        names = ", ".join(repr(index.class_names[label]) for label in sorted(lost))
        raise PrivpipeError(f"not one training image of the class {names} can be read. See the reasons above.")
    return good


def _copy(source: Path, writer: Writer, places: dict[str, Rows], kind: str) -> None:
    """Copy the rows `places` of each split."""
    with open_store(source, kind) as store:
        for split in SPLITS:
            labels, done = store.labels(split), 0
            for start, stop in store.spans(split):
                chosen = places[split][(places[split] >= start) & (places[split] < stop)]
                writer.write(split, done, store.rows(split, start, stop)[chosen - start], labels[chosen])
                done += len(chosen)
