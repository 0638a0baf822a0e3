"""Which images of a folder go into which set.

rows = split_folder(scan(Path("images")), None, 1000, None, np.random.default_rng(0))
"""

import numpy as np

from privpipe.data.folder import FolderIndex
from privpipe.data.split import Rows, Shuffler, interleave, set_aside, shuffled_by_class, take
from privpipe.errors import PrivpipeError

ATTEMPTS = 100  # orders of the groups, before there are too few of them
TEST_FRACTION = 0.2  # of each class, where data.n_test is null and there is no test/


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
    must be drawn for 20 % of each class. Of what is left to train with, `public` is that fraction of each class. Each
    class keeps at least one image to train with.

    Raises:
        PrivpipeError: more images are asked for than there are, or fewer than there are classes.
    """
    if index.groups is not None:
        return split_groups(index, index.groups, n_train, n_val, n_test, rng, public)
    classes = len(index.class_names)
    pools = {part: shuffled_by_class(rows, index.labels, classes, rng) for part, rows in index.parts.items()}
    train = pools["train"]
    if "test" in pools:
        test = _from_part(pools["test"], n_test, "test")
    elif n_test is None:
        fractions = [max(1, round(len(rows) * TEST_FRACTION)) for rows in train]
        test = interleave([rows[:fraction] for rows, fraction in zip(train, fractions, strict=True)])
        train = [rows[fraction:] for rows, fraction in zip(train, fractions, strict=True)]
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
    return {"train": _chosen(train, n_train), "val": val, "test": test, "public": aside}


def _chosen(train: list[Rows], n_train: int | None) -> Rows:
    """`n_train` rows of those by class, or all."""
    if n_train is None:
        return interleave(train)
    _check_count("train", n_train, len(train))
    if n_train == sum(map(len, train)):
        return interleave(train)
    return take(train, n_train, "data.n_train", remedy=", or null for all")[0]


def split_groups(
    index: FolderIndex,
    groups: Rows,
    n_train: int | None,
    n_val: int,
    n_test: int | None,
    rng: Shuffler,
    public: float = 0.0,
) -> dict[str, Rows]:
    """The same with whole groups: no group has images in two of train, val, test and public.

    Groups go in random order to test, val and public until each has as many images of every class as it needs, and the
    others to train. Sets of a given number are then cut to it, and what is over is left out.

    Raises:
        PrivpipeError: see `split_folder`; or there are too few groups.
    """
    classes = len(index.class_names)
    test_rows, val_rows = index.parts.get("test"), index.parts.get("val")
    train_rows = index.parts["train"]
    counts = np.zeros((int(groups.max()) + 1, classes), np.int64)  # images of each group and class
    np.add.at(counts, (groups[train_rows], index.labels[train_rows]), 1)
    for name, count, given in (("test", n_test, test_rows), ("val", n_val, val_rows)):
        if given is None and count is not None:
            _check_count(name, count, classes)
    total = counts.sum(0)
    by_default = np.maximum(1, np.rint(total * TEST_FRACTION).astype(np.int64))
    test_need = by_default if n_test is None else np.full(classes, -(-n_test // classes))
    needs = {} if test_rows is not None else {"test": test_need}
    needs |= {} if val_rows is not None else {"val": np.full(classes, -(-n_val // classes))}
    left = total - sum(needs.values(), np.zeros(classes, np.int64))
    needs |= {"public": np.maximum(0, left * public).astype(np.int64)}
    drawn = _assign(np.unique(groups[train_rows]), counts, needs, rng)
    if drawn is None:
        raise PrivpipeError(
            f"{len(np.unique(groups[train_rows])):,} groups (data.groups) cannot fill {', '.join(needs)} and train, "
            "whole groups each, with images of every class. Use a smaller data.n_test, data.n_val or data.public, or "
            "make folders val/ and test/."
        )

    def by_class(rows: Rows) -> list[Rows]:
        return shuffled_by_class(rows, index.labels, classes, rng)

    pools = {name: by_class(train_rows[np.isin(groups[train_rows], some)]) for name, some in drawn.items()}
    test, val = (
        _from_part(by_class(given), count, name)
        if given is not None
        else interleave(pools[name])
        if count is None
        else take(pools[name], count, f"data.n_{name}")[0]
        for name, count, given in (("test", n_test, test_rows), ("val", n_val, val_rows))
    )
    train = _chosen(pools["train"], n_train)
    return {"train": train, "val": val, "test": test, "public": interleave(pools["public"])}


def _assign(groups: Rows, counts: Rows, needs: dict[str, Rows], rng: Shuffler) -> dict[str, list[int]] | None:
    """The groups of each set of `needs`, and those left for `train`; None where none of many orders fills all.

    Args:
        counts: (groups, classes) images.
        needs: of each set, how many images of each class (classes,) at least.
    """
    for _ in range(ATTEMPTS):
        left: list[int] = [int(group) for group in rng.permutation(groups)]
        drawn: dict[str, list[int]] = {}
        for name, need in needs.items():
            missing, drawn[name] = need.copy(), []
            for group in left:
                if (counts[group] * (missing > 0)).any():
                    drawn[name].append(group)
                    missing -= counts[group]
                if (missing <= 0).all():
                    break
            taken = set(drawn[name])
            left = [group for group in left if group not in taken]
            if (missing > 0).any():
                break
        else:
            if (counts[left].sum(0) > 0).all():
                return drawn | {"train": left}
    return None


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
