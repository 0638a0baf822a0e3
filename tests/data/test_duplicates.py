"""Identical and nearly identical images across sets or classes are found, and no others."""

import io
from pathlib import Path

import numpy as np
import pytest
from drawn import saved
from PIL import Image

from privpipe.data import duplicates as module
from privpipe.data.audit import Audit
from privpipe.data.duplicates import Fingerprints, Pair, duplicates
from privpipe.data.folder import scan
from privpipe.data.folder_file import write_folder
from privpipe.data.folder_split import split_folder
from privpipe.data.summary import summary
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.reading import Reading
from privpipe.store import RAW, open_store

DRAWN = draw(200, 32, rng=np.random.default_rng(0)).images


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resaved(image: np.ndarray) -> np.ndarray:
    """Half as large, and back."""
    small = Image.fromarray(image).resize((16, 16), Image.Resampling.LANCZOS)
    return np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("block", [7, 1024])
def test_what_is_found(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    images = DRAWN[:60].copy()
    images[40] = images[3]
    images[41] = as_jpeg(images[5], 80)
    images[42] = resaved(images[6])
    images[43] = images[8] // 2 + 90
    images[44] = images[30]  # in the same set and class
    images[20] = images[2]  # in another class
    images[45] = images[9][:, ::-1]  # mirrored: another image
    sets, labels = np.repeat([0, 1], 30), np.zeros(60, np.int64)
    labels[20] = 1
    found = duplicates(Fingerprints.of(images), sets, labels)
    assert found == [
        *[Pair(2, 20, True), Pair(3, 40, True), Pair(5, 41, False), Pair(6, 42, False), Pair(8, 43, False)],
    ]
    assert duplicates(Fingerprints.of(images), sets, labels, start=41) == found[2:]


def unclipped(image: np.ndarray, gains: list[float], offsets: list[float]) -> np.ndarray:
    """Other brightness and contrast of each channel."""
    return np.rint(image * np.array(gains) + offsets).clip(0, 255).astype(np.uint8)


CHANGES = {
    "half the contrast": ([0.5] * 3, [60.0] * 3),
    "a tenth of the contrast": ([0.1] * 3, [100.0] * 3),
    "brighter": ([0.8] * 3, [50.0] * 3),
    "another contrast of each channel": ([0.9, 0.5, 0.25], [0.0, 0.0, 0.0]),
    "another brightness of each channel": ([0.7] * 3, [60.0, 30.0, 0.0]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_brightness_and_contrast_is_seen_through(change: str) -> None:
    changed = np.stack([unclipped(image, *CHANGES[change]) for image in DRAWN])
    count = len(DRAWN)
    sets, labels = np.repeat([0, 1], count), np.zeros(2 * count, np.int64)
    found = duplicates(Fingerprints.of(np.concatenate([DRAWN, changed])), sets, labels)
    right = [pair for pair in found if pair.second - pair.first == count and not pair.identical]
    assert len(right) >= 0.95 * count and len(found) - len(right) <= 1


def test_a_dim_channel_that_a_jpeg_spoils_counts_for_little() -> None:
    dim = unclipped(DRAWN, [0.15, 1.0, 1.0], [0.0] * 3)
    saved_again = np.stack([as_jpeg(image, 95) for image in dim])
    sets = np.repeat([0, 1], len(dim))
    found = duplicates(Fingerprints.of(np.concatenate([dim, saved_again])), sets, np.zeros(len(sets), np.int64))
    assert len(found) >= 0.95 * len(dim)


def test_images_of_one_colour_with_faint_textures_are_not_near() -> None:
    rng = np.random.default_rng(0)
    pink = np.array([230, 180, 210]) + rng.normal(0, 5, (50, 8, 8, 1)).repeat(4, 1).repeat(4, 2)
    images = np.rint(pink).astype(np.uint8)
    assert duplicates(Fingerprints.of(images), np.arange(50), np.zeros(50, np.int64)) == []


def test_images_of_one_shade_are_near_only_where_they_are_identical() -> None:
    flat = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None, None, None], (10, 8, 8, 3)).copy()
    flat[9] = flat[0]
    assert duplicates(Fingerprints.of(flat), np.arange(10), np.zeros(10, np.int64)) == [Pair(0, 9, True)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Parts with one image of train/ in test/, nearly the same in val/, and one in both classes."""
    for part, start in (("train", 0), ("val", 60), ("test", 90)):
        for name in ("a", "b"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for i in range(start, start + 20, 2):
                image = DRAWN[i + (name == "b")]
                saved(tmp_path / "images" / part / name / f"{i:03}.png", Image.fromarray(image))
    one = DRAWN[0]
    saved(tmp_path / "images" / "test" / "a" / "090.png", Image.fromarray(one))
    saved(tmp_path / "images" / "val" / "a" / "060.jpg", Image.fromarray(DRAWN[2]), quality=90)
    saved(tmp_path / "images" / "train" / "b" / "000.png", Image.fromarray(DRAWN[4]))
    return tmp_path / "images"


def written(root: Path, policy: str) -> tuple[Audit, dict[str, int]]:
    audit, index = Audit(policy), scan(root)
    rows = split_folder(index, None, 21, None, np.random.default_rng(0))
    write_folder(root.parent / "images.h5", index, rows, 32, audit=audit)
    with open_store(root.parent / "images.h5", RAW) as store:
        return audit, store.counts


def test_duplicates_of_a_folder_are_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    audit, counts = written(root, "warn")
    assert counts == {"train": 20, "val": 21, "test": 20}
    assert [twin.identical for twin in audit.pairs].count(True) == 2 and len(audit.pairs) == 3
    assert caplog.messages[0].startswith("3 images have a duplicate in another set or class (2 identical, 1 nearly)")
    assert f"{root / 'test/a/090.png'} (test, a) and {root / 'train/a/000.png'} (train, a)" in caplog.messages[0]
    about = summary(scan(root), audit, Reading(), 32, root)
    assert about["duplicates"]["count"] == 3
    files = [one["file"] for pair in about["duplicates"]["pairs"] for one in pair["files"]]
    assert "test/a/090.png" in files and "val/a/060.jpg" in files
    assert about["split"][-1].startswith("3 images have an identical or nearly identical one")


def test_duplicates_can_stop(root: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"Remove them, or set data\.on_duplicates to drop \(leave them out\) or"):
        written(root, "stop")
    assert not (root.parent / "images.h5").exists()


def test_duplicates_can_be_dropped_from_training_and_both_of_a_contradiction(root: Path) -> None:
    audit, counts = written(root, "drop")
    assert counts == {"train": 16, "val": 21, "test": 20}
    assert audit.dropped == 4
    names = {path.relative_to(root).as_posix() for path in audit.sets["train"].paths}
    assert not names & {"train/a/000.png", "train/a/002.png", "train/a/004.png", "train/b/000.png"}


def test_nobody_looks(root: Path) -> None:
    audit, counts = written(root, "ignore")
    assert audit.pairs == [] and sum(counts.values()) == 61
