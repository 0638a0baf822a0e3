"""A folder of images as an index: layouts, classes, splits, and what is wrong with other folders."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import SIZE, Counts, bring, content, draw, make
from hypothesis import given, settings
from hypothesis import strategies as st

from privpipe.data import folder as folder_module
from privpipe.data.folder import FolderIndex, scan, scan_public, with_classes
from privpipe.data.folder_file import write_folder
from privpipe.data.folder_split import split_folder
from privpipe.data.listing import SUFFIXES
from privpipe.errors import PrivpipeError
from privpipe.store import PUBLIC, RAW, SPLITS, open_store


def test_every_image_comes_with_its_class_and_once(tmp_path: Path) -> None:
    root = make(tmp_path / "images", {"dog": 10, "cat": 11, "Ape": 9})
    (root / "cat" / "notes.txt").write_text("no image")
    found = content(bring(root, tmp_path / "images.h5", n_val=6), root)
    with open_store(tmp_path / "images.h5", RAW) as store:
        assert store.header.class_names == ("Ape", "cat", "dog")
        assert store.header.shape == (SIZE, SIZE, 3)
    everything = [row for split in SPLITS for row in found[split]]
    assert all(name.startswith(f"{class_name}/") for class_name, name in everything)
    assert len(everything) == len(set(everything)) == 30
    assert Counter(name for name, _ in found["test"]) == {"Ape": 2, "cat": 2, "dog": 2}  # 20 % of each
    assert Counter(name for name, _ in found["val"]) == {"Ape": 2, "cat": 2, "dog": 2}


def test_numbers_give_balanced_sets(tmp_path: Path) -> None:
    index = scan(make(tmp_path, {"a": 12, "b": 30, "c": 14}))
    rows = draw(index, 9, 7, 8)
    assert {name: np.bincount(index.labels[chosen]).tolist() for name, chosen in rows.items()} == {
        "train": [3, 3, 3],
        "val": [3, 2, 2],
        "test": [3, 3, 2],
        "public": [],
    }
    assert len(set(np.concatenate(list(rows.values())).tolist())) == 24
    assert [len(chosen) for chosen in draw(index, None, 7, 8).values()] == [41, 7, 8, 0]


def test_the_seed_fixes_the_rows_and_a_larger_set_begins_with_a_smaller(tmp_path: Path) -> None:
    index = scan(make(tmp_path, {"a": 20, "b": 20}))
    one, again, other = draw(index, 10, 6, 8), draw(index, 10, 6, 8), draw(index, 10, 6, 8, seed=1)
    assert all(np.array_equal(one[name], again[name]) for name in SPLITS)
    assert set(one["train"].tolist()) != set(other["train"].tolist())
    more = draw(index, 20, 6, 8)
    assert np.array_equal(more["train"][:10], one["train"]) and np.array_equal(more["val"], one["val"])


def test_the_public_fraction_comes_from_what_is_left_to_train_with(tmp_path: Path) -> None:
    index = scan(make(tmp_path, {"a": 12, "b": 30, "c": 3}))
    without, with_it = (split_folder(index, None, 3, 3, np.random.default_rng(0), public) for public in (0.0, 0.5))
    assert all(np.array_equal(without[name], with_it[name]) for name in ("val", "test"))
    assert np.bincount(index.labels[with_it["public"]]).tolist() == [5, 14]  # of 10, 28 and 1
    together = np.concatenate([with_it["train"], with_it["public"]])
    assert sorted(together.tolist()) == sorted(without["train"].tolist())


def test_public_images_of_another_folder(tmp_path: Path) -> None:
    index = scan_public(make(tmp_path / "others", {"x": 3, "y/z": 2}))
    assert len(index.paths) == 5 and index.class_names == ("public",)
    write_folder(tmp_path / "public.h5", index, index.parts, SIZE, kind=PUBLIC)
    with open_store(tmp_path / "public.h5", PUBLIC) as store:
        assert store.counts == {"train": 5, "val": 0, "test": 0}


def test_public_images_that_are_sorted_as_the_owners_have_classes(tmp_path: Path) -> None:
    root = make(tmp_path / "others", {"dog": 2, "cat/young": 1, "cat/old": 3})
    index = with_classes(scan_public(root), root, ("cat", "dog"))
    assert index.class_names == ("cat", "dog")
    assert index.labels.tolist() == [("cat", "dog").index(path.relative_to(root).parts[0]) for path in index.paths]
    assert Counter(index.labels.tolist()) == {0: 4, 1: 2}


@pytest.mark.parametrize(
    ("public", "said"),
    [
        ({"x": 2, "y": 3}, ""),  # no name in common: nobody meant them for classes
        ({"cat": 2}, "(no image in dog/)"),
        ({"cat": 2, "dog": 1, "ape": 1}, "(images in ape/)"),
        ({"cat": 2, "Dog": 1}, "(no image in dog/, images in Dog/)"),
    ],
)
def test_other_public_images_have_none(
    tmp_path: Path, public: dict[str, int], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = make(tmp_path / "others", public)
    index = with_classes(scan_public(root), root, ("cat", "dog"))
    assert index.class_names == ("public",) and not index.labels.any()
    assert said in caplog.text and bool(said) == bool(caplog.records)


@pytest.mark.parametrize("public", [".", "a", ".."])
def test_public_images_must_not_be_the_owners(tmp_path: Path, public: str) -> None:
    root = make(tmp_path / "images", {"a": 3, "b": 3})
    with pytest.raises(PrivpipeError, match=r"share images: the adversary would hold your originals. Give a folder of"):
        scan_public(root / public, root)
    make(tmp_path / "others", {"x": 2})
    assert len(scan_public(tmp_path / "others", root).paths) == 2


def test_an_unreadable_public_image_can_be_left_out_of_any_class(tmp_path: Path) -> None:
    index = scan(make(tmp_path / "images", {"a": 3, "b": 3}))
    index.paths[0].write_bytes(b"broken")
    write_folder(tmp_path / "p.h5", index, {"train": np.array([0, 3])}, SIZE, skip=True, kind=PUBLIC)
    with open_store(tmp_path / "p.h5", PUBLIC) as store:
        assert store.counts["train"] == 1
    with pytest.raises(PrivpipeError, match="not one training image of the class 'a'"):
        write_folder(tmp_path / "i.h5", index, {"train": np.array([0, 3])}, SIZE, skip=True)


def test_a_folder_without_public_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PrivpipeError, match=r"^data.public=.*empty has no images\. Give a folder .*\.png"):
        scan_public(tmp_path / "empty")
    with pytest.raises(PrivpipeError, match=r"^data.public=.*nothing is not a folder\. Give a folder of images"):
        scan_public(tmp_path / "nothing")


def test_all_parts_given(tmp_path: Path) -> None:
    root = make(tmp_path / "images", {"train/a": 6, "train/b": 4, "val/a": 3, "val/b": 5, "test/b": 4})
    found = content(bring(root, tmp_path / "images.h5", n_val=8), root)
    for split in SPLITS:
        assert all(name.startswith(f"{split}/{class_name}/") for class_name, name in found[split])
    assert {split: len(found[split]) for split in SPLITS} == {"train": 10, "val": 8, "test": 4}
    balanced = content(bring(root, tmp_path / "images.h5", n_train=4, n_val=6), root)
    assert Counter(name for name, _ in balanced["val"]) == {"a": 3, "b": 3}
    assert Counter(name for name, _ in balanced["train"]) == {"a": 2, "b": 2}


@pytest.mark.parametrize("given_part", ["val", "test"])
def test_a_missing_part_is_drawn_from_train(tmp_path: Path, given_part: str) -> None:
    root = make(tmp_path / "images", {"train/a": 20, "train/b": 10, f"{given_part}/a": 2, f"{given_part}/b": 2})
    found = content(bring(root, tmp_path / "images.h5"), root)
    assert {name.split("/")[0] for _, name in found[given_part]} == {given_part}
    drawn = "val" if given_part == "test" else "test"
    assert {name.split("/")[0] for _, name in found[drawn]} == {"train"}
    share = {"a": 2, "b": 2} if drawn == "val" else {"a": 4, "b": 2}
    assert Counter(name for name, _ in found[drawn]) == share
    assert not set(found[drawn]) & set(found["train"])
    assert len(found["train"]) == 30 - sum(share.values())


def test_parts_may_be_called_otherwise(tmp_path: Path) -> None:
    root = make(
        tmp_path, {"Training/a": 3, "Training/b": 3, "TESTING/a": 1, "TESTING/b": 2, "Valid/a": 2, "Valid/b": 1}
    )
    index = scan(root)
    assert index.class_names == ("a", "b")
    assert {part: len(rows) for part, rows in index.parts.items()} == {"train": 6, "val": 3, "test": 3}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert scan(make(tmp_path, {"car": 3, "train": 3, "test": 3})).class_names == ("car", "test", "train")


def test_images_may_lie_deeper_in_a_class_and_be_linked(tmp_path: Path) -> None:
    root = make(tmp_path / "images", {"a/one": 2, "a/two/three": 3, "b": 4, ".hidden": 2})
    make(tmp_path / "elsewhere", {"c": 2})
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (root / "loop").symlink_to(root)
    (root / "a" / "up").symlink_to(root)
    index = scan(root)
    assert index.class_names == ("a", "b", "c")
    assert np.bincount(index.labels).tolist() == [5, 4, 2]


def test_images_outside_of_the_classes_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make(tmp_path, {"a": 2, "b": 2, ".": 3})
    assert len(scan(root).paths) == 4
    assert caplog.messages == [f"3 images lie in {root} itself, in no class: they are left out"]


SUFFIX_LIST = ", ".join(sorted(SUFFIXES))
LAYOUT = "one sub-folder per class, such as cat/ and dog/, or train/, val/ and test/ with the classes in each"
WRONG_FOLDERS: dict[str, tuple[Counts, str]] = {
    "empty": ({}, f"data.path=ROOT holds no sub-folders; at least two classes are needed: {LAYOUT}."),
    "flat": ({".": 3}, f"data.path=ROOT holds no sub-folders; at least two classes are needed: {LAYOUT}."),
    "hidden": ({".a": 3, ".b": 3}, "data.path=ROOT holds no sub-folders; at least"),
    "one class": ({"cat": 3}, f"data.path=ROOT holds only the class 'cat'; at least two classes are needed: {LAYOUT}."),
    "one class with parts": ({"train/cat": 3, "test/cat": 3}, "data.path=ROOT holds only the class 'cat'; at least"),
    "no images": (
        {"cat": 3, "dog": 0},
        f"class 'dog' has no images ({SUFFIX_LIST}) in ROOT/dog. Put some there, or take the class away.",
    ),
    "class in test only": (
        {"train/a": 2, "train/b": 2, "test/c": 1},
        f"class 'c' has no images ({SUFFIX_LIST}) in ROOT/train/c. Put",
    ),
    "no train": (
        {"test/a": 2, "test/b": 2, "val/a": 2},
        "data.path=ROOT mixes layouts: it holds test/, val/, and in test, val there are folders as if for classes. "
        "With parts, train/ is required, val/ and test/ are optional, and nothing else may stand beside them. Rename "
        "or move folders to fit.",
    ),
    "dev": (
        {"train/a": 2, "train/b": 2, "dev/a": 2},
        "data.path=ROOT mixes layouts: it holds dev/, train/, and in train there are folders as if for classes.",
    ),
    "parts of images": (
        {"Training": 2, "Testing": 2},
        "data.path=ROOT holds Testing/, Training/, and these hold images rather than classes: they are parts of a set,",
    ),
    "a part twice": (
        {"train/a": 2, "train/b": 2, "val/a": 2, "Validation/a": 2},
        "data.path=ROOT holds Validation/, train/, val/, two of which are the same part. Merge them, or rename one.",
    ),
    "parts in a class": (
        {"cat/train": 2, "cat/test": 2, "dog": 2},
        "ROOT/cat holds test/, train/: parts stand above the classes, not in them. Move them: one",
    ),
    "unprintable": ({"a\n": 1, "b": 1}, r"the class name 'a\n' in ROOT has characters that cannot be shown. Rename"),
    "no UTF-8": ({"a\udcff": 1, "b": 1}, r"the class name 'a\udcff' in ROOT has characters that cannot be shown."),
}


@pytest.mark.parametrize("kind", WRONG_FOLDERS)
def test_wrong_folders(tmp_path: Path, kind: str) -> None:
    classes, message = WRONG_FOLDERS[kind]
    for name in classes:
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    make(tmp_path, classes)
    with pytest.raises(PrivpipeError) as caught:
        scan(tmp_path)
    assert str(caught.value).startswith(message.replace("ROOT", str(tmp_path)))


def test_too_many_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MAX_CLASSES", 2)
    with pytest.raises(PrivpipeError, match=r"holds 3 classes; at most 2 are possible"):
        scan(make(tmp_path, {"a": 1, "b": 1, "c": 1}))


def test_no_folder(tmp_path: Path) -> None:
    give = re.escape(f"Give the path of a folder with {LAYOUT}.")
    with pytest.raises(PrivpipeError, match=rf"^data\.path=.*/missing does not exist\. {give}$"):
        scan(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(PrivpipeError, match=rf"^data\.path=.*/file is not a folder\. {give}$"):
        scan(tmp_path / "file")


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = make(tmp_path, {"a": 1, "b": 1}), os.scandir
    for secret in (root, root / "a"):

        def refuse(path: Any, secret: Path = secret) -> Any:
            if Path(path) == secret:
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", refuse)
            with pytest.raises(PrivpipeError, match=rf"^cannot list {secret}: Permission denied\. Check the path and"):
                scan(root)


FLAT = {"a": 10, "b": 4}
PARTS = {"train/a": 10, "train/b": 10, "val/a": 4, "val/b": 6, "test/a": 1, "test/b": 3}
WRONG_COUNTS: list[tuple[Counts, tuple[int | None, int, int | None], str]] = [
    (
        FLAT,
        (None, 1000, None),
        "data.n_val=1000 is more than there is in equal numbers of each class: the smallest class has 2 images to "
        "spare: 1 must be left. Use data.n_val <= 5, or a smaller data.n_test.",
    ),
    (FLAT, (None, 4, 100), "data.n_test=100 is more than there is in equal numbers of each class: the smallest"),
    (FLAT, (None, 1, None), "data.n_val must hold each of the 2 classes; got 1. Use 2 or more."),
    (FLAT, (None, 2, 1), "data.n_test must hold each of the 2 classes; got 1. Use 2 or more."),
    (FLAT, (1, 2, 2), "data.n_train must hold each of the 2 classes; got 1. Use 2 or more."),
    (
        FLAT,
        (20, 2, 2),
        "data.n_train=20 is more than there is in equal numbers of each class: the smallest class has 2 images. Use "
        "data.n_train <= 5, or null for all.",
    ),
    (FLAT, (None, 4, 6), "data.n_val=4 is more than there is in equal numbers of each class: the smallest class has 0"),
    (
        PARTS,
        (None, 1000, None),
        "data.n_val=1000 is more than there is in equal numbers of each class: the smallest class has 4 images. Use "
        "data.n_val <= 9, or 10 for all in val/.",
    ),
    (PARTS, (None, 8, 5), "data.n_test=5 is more than there is in equal numbers of each class: the smallest class ha"),
    (
        {"a": 10, "b": 1},
        (None, 2, None),
        "class 'b' has one image, which is too few to train and to test. Add some, or take the class away.",
    ),
    (
        {"train/a": 3, "train/b": 3, "test/a": 0, "test/b": 0},
        (None, 2, None),
        "test/ holds no images. Put some there, or remove it to draw them from train/.",
    ),
]


@pytest.mark.parametrize(("classes", "counts", "message"), WRONG_COUNTS)
def test_wrong_counts(
    tmp_path: Path, classes: Counts, counts: tuple[int | None, int, int | None], message: str
) -> None:
    for name in classes:
        (tmp_path / name).mkdir(parents=True)
    index = scan(make(tmp_path, classes))
    with pytest.raises(PrivpipeError) as caught:
        draw(index, *counts)
    assert str(caught.value).startswith(message)


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=4),
    n_train=st.none() | st.integers(1, 20),
    n_val=st.integers(1, 20),
    n_test=st.none() | st.integers(1, 20),
)
def test_any_split_is_disjoint_of_the_right_size_and_has_every_class_or_is_refused(
    sizes: list[int], n_train: int | None, n_val: int, n_test: int | None
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    names = tuple(map(str, range(len(sizes))))
    index = FolderIndex([Path()] * len(labels), labels, names, {"train": np.arange(len(labels))})
    try:
        rows = draw(index, n_train, n_val, n_test)
    except PrivpipeError:
        return
    chosen = np.concatenate(list(rows.values()))
    assert len(set(chosen.tolist())) == len(chosen)
    assert len(rows["val"]) == n_val
    assert n_test is None or len(rows["test"]) == n_test
    assert len(rows["train"]) == (n_train or len(labels) - n_val - len(rows["test"]))
    for split in SPLITS:
        counts = np.bincount(labels[rows[split]], minlength=len(sizes))
        assert counts.min() >= 1
        left = len(labels) - n_val - len(rows["test"])
        if {"train": n_train, "val": n_val, "test": n_test}[split] not in (None, left):
            assert counts.max() - counts.min() <= 1
