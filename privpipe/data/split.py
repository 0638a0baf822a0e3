"""Training, validation and test sets, and the adversary's public images: class-balanced, fixed by a seed or a key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from privpipe.data.images import RawImages
from privpipe.errors import PrivpipeError
from privpipe.store import RAW, SPLITS, Header, create

Rows = NDArray[np.int64]


class Shuffler(Protocol):
    """What draws a split: NumPy's generators do, and `privpipe.owner.order.KeyedOrder`."""

    def permutation(self, x: NDArray[np.int64], /) -> NDArray[Any]:
        """The values of `x` (n,) in random order."""
        ...


def split(
    train: RawImages,
    test: RawImages,
    n_train: int | None,
    n_val: int,
    n_test: int | None,
    rng: Shuffler,
    public: float = 0.0,
) -> dict[str, Rows]:
    """Which rows go where: `train`, `val` and `public` of the training part, `test` of the test part.

    `public` is that fraction of each class of the training part. Each other set is class-balanced (the counts of two
    classes differ by at most one) except where None asks for all that is left; rows come in random order. A larger
    `n_train` or `n_test` begins with the rows of a smaller one, and neither these beginnings nor `val` depend on
    `public`.

    Raises:
        PrivpipeError: more images are asked for than a class has.
    """
    classes = len(train.class_names)
    by_class = shuffled_by_class(np.arange(len(train)), train.labels, classes, rng)
    public_rows, by_class = set_aside(by_class, public)
    test_by_class = shuffled_by_class(np.arange(len(test)), test.labels, classes, rng)
    val, rest = take(by_class, n_val, "data.n_val")
    left = sum(map(len, rest))
    if n_train is not None and n_train > left:
        raise PrivpipeError(
            f"data.n_train={n_train} is more than there is: {len(train)} training images less {len(public_rows)} "
            f"public ones (data.public={public:g}) and data.n_val={n_val} leave {left}. Use data.n_train <= {left}, or "
            "null for all."
        )
    train_rows = interleave(rest) if n_train is None else take(rest, n_train, "data.n_train")[0]
    test_rows = interleave(test_by_class) if n_test is None else take(test_by_class, n_test, "data.n_test")[0]
    return {"train": train_rows, "val": val, "test": test_rows, "public": public_rows}


def set_aside(by_class: list[Rows], fraction: float) -> tuple[Rows, list[Rows]]:
    """That fraction of each class, rounded down, from its end; and what is left of each class."""
    keep = [len(rows) - int(len(rows) * fraction) for rows in by_class]
    aside = interleave([rows[count:] for rows, count in zip(by_class, keep, strict=True)])
    return aside, [rows[:count] for rows, count in zip(by_class, keep, strict=True)]


def shuffled_by_class(rows: Rows, labels: Rows, classes: int, rng: Shuffler) -> list[Rows]:
    """For each class, those of `rows` that have its label, in random order; `labels` holds that of every row."""
    return [rng.permutation(rows[labels[rows] == c]) for c in range(classes)]


def take(by_class: list[Rows], count: int, name: str, keep: int = 0, remedy: str = "") -> tuple[Rows, list[Rows]]:
    """`count` rows, equally many of each class up to one, and what is left of each class.

    Args:
        name: the parameter that `count` comes from, for the message.
        keep: how many rows of each class must be left.
        remedy: what else can be done where there are too few.

    Raises:
        PrivpipeError: a class has too few.
    """
    least = max(0, min(map(len, by_class)) - keep)
    most = sum(max(0, min(len(rows) - keep, least + 1)) for rows in by_class)
    if count > most:
        spare = f" to spare: {keep} must be left" if keep else ""
        raise PrivpipeError(
            f"{name}={count} is more than there is in equal numbers of each class: the smallest class has {least} "
            f"images{spare}. Use {name} <= {most}{remedy}."
        )
    taken = interleave([rows[: len(rows) - keep] for rows in by_class])[:count]
    return taken, [rows[~np.isin(rows, taken)] for rows in by_class]


def interleave(by_class: list[Rows]) -> Rows:
    """The classes in turn, so that every beginning of the result is balanced too."""
    place = np.concatenate([np.arange(len(rows)) for rows in by_class])
    return np.concatenate(by_class)[np.argsort(place, kind="stable")]


def write_images(
    path: str | Path,
    train: RawImages,
    test: RawImages,
    rows: Mapping[str, Rows],
    kind: str = RAW,
    salt: str = "",
) -> None:
    """Write images to one HDF5 file (see `privpipe.store`), in chunks.

    Args:
        rows: of each split; of `test` for the test split, else of `train`. A split that is not named stays empty.
        kind: of the file.
        salt: see `privpipe.salt`.

    Raises:
        PrivpipeError: the disk is full, or `path` cannot be written.
    """
    shape: tuple[int, int, int] = train.images.shape[1:]
    header = Header(kind, "none", 1, "dataset", train.class_names, (0.0, 255.0), shape, "uint8", salt=salt)
    with create(path, header, {name: len(rows.get(name, ())) for name in SPLITS}) as writer:
        for name in (name for name in SPLITS if name in rows):
            part = test if name == "test" else train
            for start in range(0, len(rows[name]), 4096):
                chosen = rows[name][start : start + 4096]
                writer.write(name, start, part.images[chosen], part.labels[chosen])
