"""Which images of a folder go into which set.

rows = split_folder(scan(Path("images")), None, 1000, None, np.random.default_rng(0))
"""

from privpipe.data.folder import FolderIndex
from privpipe.data.split import Rows, Shuffler, interleave, set_aside, shuffled_by_class, take
from privpipe.errors import PrivpipeError

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
