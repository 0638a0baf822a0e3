"""The file of reconstructions: what is written is read again, and nothing else is."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from privpipe.attacks.records import Record, load_records, save_records, time_metrics, time_rows
from privpipe.errors import PrivpipeError

IMAGES = np.random.default_rng(0).uniform(-20, 280, (3, 8, 8, 3)).astype(np.float32)
KEY = np.arange(32, dtype=np.int32).reshape(2, 16)
RECORDS = [
    Record("L0", "one", 0, 100, 1.5, 0.25, IMAGES, KEY),
    Record("L2", "two", 10, 100, 0.5, None, None, KEY.astype(np.float64)),
    Record("L1", "three", 0, 100, 0.1, problem="too few images"),
]


def test_records_survive_a_file(tmp_path: Path) -> None:
    save_records(tmp_path / "records.h5", RECORDS)
    for before, after in zip(RECORDS, load_records(tmp_path / "records.h5"), strict=True):
        for name in ("level", "attack", "pairs", "stolen", "confidence", "problem"):
            assert getattr(after, name) == getattr(before, name)
        assert after.seconds is None
        assert (after.key is None) == (before.key is None)
        if before.key is not None:
            np.testing.assert_array_equal(after.key, before.key)


def test_the_seconds_change_no_byte_of_the_file(tmp_path: Path) -> None:
    for name, seconds in (("one", 0.1), ("two", 7.0)):
        save_records(tmp_path / name, [replace(record, seconds=seconds) for record in RECORDS])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_times_are_of_what_was_run_alone_and_together() -> None:
    records = [*RECORDS, Record("L2", "four", 10, 100, 0.25), Record("L1", "five", 0, 100, problem="not needed")]
    assert time_rows(records) == [
        *[("L0", "one", 0, 100, 1.5), ("L2", "two", 10, 100, 0.5), ("L1", "three", 0, 100, 0.1)],
        ("L2", "four", 10, 100, 0.25),
    ]
    assert time_metrics(records) == {"seconds": 2.35, "l0_seconds": 1.5, "l1_seconds": 0.1, "l2_seconds": 0.75}


def test_images_are_rounded_and_clipped_to_8_bits(tmp_path: Path) -> None:
    save_records(tmp_path / "records.h5", RECORDS[:1])
    images = load_records(tmp_path / "records.h5")[0].images
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.rint(IMAGES.clip(0, 255)))


def test_no_records_are_a_file_too(tmp_path: Path) -> None:
    save_records(tmp_path / "records.h5", [])
    assert load_records(tmp_path / "records.h5") == []


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"none.h5 is missing. Make it with `dvc repro attack`"):
        load_records(tmp_path / "none.h5")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "privpipe-images", 1
    for name in ("text.h5", "other.h5"):
        with pytest.raises(PrivpipeError, match=rf"{name} is damaged: .* Make it again with `dvc repro attack`"):
            load_records(tmp_path / name)
