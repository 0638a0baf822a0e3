"""Splits: balanced, disjoint, fixed by the seed, and written as they were chosen."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privpipe.data.images import RawImages
from privpipe.data.split import Rows, split, write_images
from privpipe.errors import PrivpipeError
from privpipe.store import SPLITS

CLASSES = ("ant", "bee", "cat", "dog")


def sample_images(counts: list[int], seed: int = 0, size: int = 4) -> RawImages:
    """Images in mixed order, `counts[c]` of class c; every image is different."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = rng.integers(0, 256, (len(labels), size, size, 3), np.uint8)
    return RawImages(images, labels, CLASSES[: len(counts)])


def parts(
    n_train: int | None,
    n_val: int,
    n_test: int | None,
    seed: int = 0,
    train: RawImages | None = None,
    test: RawImages | None = None,
    public: float = 0.0,
) -> dict[str, Rows]:
    """The split of 4 x 25 training and 4 x 10 test images, unless others are given."""
    train, test = train or sample_images([25] * 4), test or sample_images([10] * 4, 1)
    return split(train, test, n_train, n_val, n_test, np.random.default_rng(seed), public)


def spread(labels: np.ndarray) -> int:
    """By how much the counts of two classes differ at most."""
    counts = np.bincount(labels, minlength=len(CLASSES))
    return int(counts.max() - counts.min())


@pytest.mark.parametrize(("n_train", "n_val", "n_test"), [(40, 20, 16), (41, 22, 17), (43, 7, 39), (2, 1, 3)])
def test_sizes_are_as_asked_and_classes_balanced(n_train: int, n_val: int, n_test: int) -> None:
    train, test = sample_images([25] * 4), sample_images([10] * 4, 1)
    rows = parts(n_train, n_val, n_test)
    assert {name: len(chosen) for name, chosen in rows.items()} == {
        "train": n_train,
        "val": n_val,
        "test": n_test,
        "public": 0,
    }
    assert spread(train.labels[rows["train"]]) == (n_train % 4 != 0)
    assert spread(train.labels[rows["val"]]) == (n_val % 4 != 0)
    assert spread(test.labels[rows["test"]]) == (n_test % 4 != 0)


def test_public_images_are_a_share_of_each_class_and_nobody_elses() -> None:
    train = sample_images([9, 4, 5, 30])
    rows = parts(None, 8, None, train=train, public=0.25)
    assert np.bincount(train.labels[rows["public"]]).tolist() == [2, 1, 1, 7]
    owned = np.concatenate([rows["train"], rows["val"]])
    assert sorted(np.concatenate([owned, rows["public"]]).tolist()) == list(range(48))


def test_the_other_sets_do_not_depend_on_the_public_share() -> None:
    without, with_it = parts(40, 20, 16), parts(40, 20, 16, public=0.4)
    for name in SPLITS:
        assert np.array_equal(without[name], with_it[name])


def test_public_images_leave_fewer_to_train_with() -> None:
    assert len(parts(None, 20, 16, public=0.2)["train"]) == 60
    with pytest.raises(PrivpipeError, match=r"less 20 public ones \(data.public=0.2\) and data.n_val=20 leave 60. Use"):
        parts(61, 20, 16, public=0.2)


def test_no_image_is_chosen_twice() -> None:
    rows = parts(60, 30, 40)
    used = np.concatenate([rows["train"], rows["val"]])
    assert len(set(used.tolist())) == 90
    assert len(set(rows["test"].tolist())) == 40


def test_none_takes_all_that_is_left() -> None:
    rows = parts(None, 20, None)
    assert sorted(np.concatenate([rows["train"], rows["val"]]).tolist()) == list(range(100))
    assert sorted(rows["test"].tolist()) == list(range(40))


def test_none_takes_all_that_is_left_of_unequal_classes() -> None:
    train, test = sample_images([9, 4, 5, 30]), sample_images([1, 0, 7, 2], 1)
    rows = parts(None, 8, None, train=train, test=test)
    assert np.bincount(train.labels[rows["val"]]).tolist() == [2, 2, 2, 2]
    assert np.bincount(train.labels[rows["train"]]).tolist() == [7, 2, 3, 28]
    assert np.bincount(test.labels[rows["test"]]).tolist() == [1, 0, 7, 2]


def test_the_seed_fixes_every_row() -> None:
    first, again, other = parts(40, 20, 16), parts(40, 20, 16), parts(40, 20, 16, seed=1)
    for name in SPLITS:
        assert np.array_equal(first[name], again[name])
        assert set(first[name].tolist()) != set(other[name].tolist())


def test_rows_do_not_come_in_the_order_of_the_archive() -> None:
    rows = parts(None, 20, None)
    assert not np.array_equal(rows["train"], np.sort(rows["train"]))
    assert not np.array_equal(rows["test"], np.sort(rows["test"]))


@pytest.mark.parametrize("smaller", [1, 10, 41])
@pytest.mark.parametrize("larger", [42, 80, None])
def test_a_larger_training_set_begins_with_a_smaller_one(smaller: int, larger: int | None) -> None:
    less, more = parts(smaller, 20, 16), parts(larger, 20, 16)
    assert np.array_equal(more["train"][:smaller], less["train"])
    assert np.array_equal(more["val"], less["val"])
    assert np.array_equal(more["test"], less["test"])


@pytest.mark.parametrize("larger", [15, 40, None])
def test_a_larger_test_set_begins_with_a_smaller_one(larger: int | None) -> None:
    less, more = parts(40, 20, 14), parts(40, 20, larger)
    assert np.array_equal(more["test"][:14], less["test"])
    assert np.array_equal(more["train"], less["train"])


def test_more_training_images_than_there_are() -> None:
    with pytest.raises(
        PrivpipeError,
        match=r"data.n_train=81 is more than there is: 100 training images less 0 public ones \(data.public=0\) and "
        r"data.n_val=20 leave 80. "
        r"Use data.n_train <= 80, or null for all",
    ):
        parts(81, 20, 16)


def test_more_validation_or_test_images_than_there_are() -> None:
    with pytest.raises(PrivpipeError, match=r"data.n_val=101 .* smallest class has 25 images. Use data.n_val <= 100"):
        parts(None, 101, 16)
    with pytest.raises(PrivpipeError, match=r"data.n_test=41 .* smallest class has 10 images. Use data.n_test <= 40"):
        parts(40, 20, 41)


def test_a_small_class_limits_a_balanced_set() -> None:
    train = sample_images([2, 9, 9, 9])
    assert spread(train.labels[parts(11, 0, 4, train=train)["train"]]) == 1
    with pytest.raises(PrivpipeError, match=r"data.n_train=12 .* smallest class has 2 images. Use data.n_train <= 11"):
        parts(12, 0, 4, train=train)


def test_all_that_is_left_can_be_asked_for_by_number() -> None:
    """Validation took one more of the first classes, so training takes one more of the last."""
    train = sample_images([3] * 4)
    rows = parts(6, 6, 4, train=train)
    assert np.bincount(train.labels[rows["val"]]).tolist() == [2, 2, 1, 1]
    assert np.bincount(train.labels[rows["train"]]).tolist() == [1, 1, 2, 2]


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    n_val=st.integers(0, 8),
    n_train=st.integers(1, 20),
    seed=st.integers(0, 9),
)
def test_any_split_is_balanced_and_disjoint_or_refused(counts: list[int], n_val: int, n_train: int, seed: int) -> None:
    source = sample_images(counts, seed)
    try:
        rows = split(source, source, n_train, n_val, None, np.random.default_rng(seed))
    except PrivpipeError:
        least = min(counts)
        enough = sum(min(count, least + 1) for count in counts)
        # Refusal needs a reason: some class is short of an equal share of both sets together.
        assert n_val + n_train > enough or n_val % len(counts) or n_train % len(counts)
        return
    assert (len(rows["train"]), len(rows["val"])) == (n_train, n_val)
    assert not set(rows["train"].tolist()) & set(rows["val"].tolist())
    for name in ("train", "val"):
        found = np.bincount(source.labels[rows[name]], minlength=len(counts))
        assert found.max() - found.min() <= 1


def test_written_rows_are_the_rows_of_the_source(tmp_path: Path) -> None:
    train, test = sample_images([25] * 4), sample_images([10] * 4, 1)
    rows = parts(40, 20, 16)
    write_images(tmp_path / "images.h5", train, test, rows)
    with h5py.File(tmp_path / "images.h5") as file:
        for name, source in (("train", train), ("val", train), ("test", test)):
            images, labels = file[name]["images"], file[name]["labels"]
            assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
            assert images.shape == (len(rows[name]), 4, 4, 3)
            for i, row in enumerate(rows[name]):
                assert np.array_equal(images[i], source.images[row])
                assert labels[i] == source.labels[row]
        assert file.attrs["format"] == b"privpipe-images"
        assert [bytes(name).decode() for name in file.attrs["class_names"]] == list(CLASSES)


def test_more_rows_than_a_chunk_are_written(tmp_path: Path) -> None:
    many = sample_images([2500] * 2, size=1)
    rows = split(many, many, 4700, 10, 3, np.random.default_rng(0))
    write_images(tmp_path / "images.h5", many, many, rows)
    with h5py.File(tmp_path / "images.h5") as file:
        assert np.array_equal(file["train"]["images"][:], many.images[rows["train"]])
        assert np.array_equal(file["train"]["labels"][:], many.labels[rows["train"]])


def test_the_same_split_gives_the_same_bytes(tmp_path: Path) -> None:
    source = sample_images([9] * 4)
    for name in ("one.h5", "another.h5"):
        rows = split(source, source, 20, 8, None, np.random.default_rng(0))
        write_images(tmp_path / name, source, source, rows)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "another.h5").read_bytes()
