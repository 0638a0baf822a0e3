"""Checksums of HDF5 files: what changed since a file was written is noticed, however it was written and is read."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash
from numpy.typing import NDArray
from sealing import digests_of, reseal

from privpipe import checksum, store
from privpipe.attacks.records import Record, load_records, save_records
from privpipe.checksum import block_rows, check, seal
from privpipe.errors import PrivpipeError
from privpipe.store import LEAKED, PERTURBED, PUBLIC, RAW, SPLITS, Header, create, open_store

KINDS = (RAW, PERTURBED, PUBLIC, LEAKED)
COUNT, SHAPE = 150, (8, 8, 3)  # three blocks, the last of 22 images
HEADER = Header(RAW, "none", 1, "dataset", ("ant", "bee"), (0.0, 255.0), SHAPE, "uint8", salt="ab" * 16)
Write = Callable[[store.Writer, NDArray, NDArray], None]


def content(dtype: str = "uint8", count: int = COUNT) -> tuple[NDArray, NDArray[np.int64]]:
    rng = np.random.default_rng(count)
    return rng.integers(0, 200, (count, *SHAPE)).astype(dtype), rng.integers(0, 2, count)


def write(path: Path, header: Header = HEADER, step: int = COUNT, counts: dict[str, int] | None = None) -> Path:
    counts = counts or dict.fromkeys(SPLITS, COUNT)
    with create(path, header, counts) as writer:
        for split, count in counts.items():
            images, labels = content(header.dtype, count)
            for start in range(0, count, step):
                writer.write(split, start, images[start : start + step], labels[start : start + step])
    return path


def read(path: Path, kind: str = RAW) -> None:
    with open_store(path, kind) as opened:
        for split in SPLITS:
            opened.labels(split)
            opened.images(split)


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def place(path: Path, name: str) -> tuple[int, int]:
    """Where the values of a data set begin in the file, and their bytes."""
    with h5py.File(path) as file:
        return file[name].id.get_offset(), file[name].id.get_storage_size()


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_bit_is_noticed(tmp_path: Path, kind: str) -> None:
    dtype = "float16" if kind == PERTURBED else "uint8"
    path = write(tmp_path / "x.h5", replace(HEADER, kind=kind, dtype=dtype), counts=dict.fromkeys(SPLITS, 70))
    read(path, kind)
    bits = np.random.default_rng(1).choice(8 * path.stat().st_size, 250, replace=False)
    for bit in [*bits.tolist(), *range(0, 8 * 512, 37), 8 * path.stat().st_size - 1]:
        flip(path, bit)
        with pytest.raises(PrivpipeError, match=r"x\.h5 is damaged: .*`dvc repro`, or pull it again"):
            read(path, kind)
        flip(path, bit)
    read(path, kind)


def test_every_flipped_bit_of_reconstructions_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    save_records(path, [Record("L0", "one", 0, 9, 1.5, 0.5, np.zeros((2, 8, 8, 3)), np.arange(9))])
    for bit in np.random.default_rng(2).choice(8 * path.stat().st_size, 250, replace=False).tolist():
        flip(path, bit)
        with pytest.raises(PrivpipeError, match=r"r\.h5 is damaged: .*Make it again with `dvc repro attack`"):
            load_records(path)
        flip(path, bit)
    assert len(load_records(path)) == 1


@pytest.mark.parametrize(
    ("start", "stop"), [(0, COUNT), (64, 128), (128, COUNT), (70, 71), (63, 65), (1, COUNT - 1), (100, 101)]
)
def test_reading_any_rows_compares_the_blocks_they_lie_in(tmp_path: Path, start: int, stop: int) -> None:
    path = write(tmp_path / "x.h5")
    images, _ = content()
    row, offset = images[0].nbytes, place(path, "val/images")[0]
    with open_store(path, RAW) as opened:
        np.testing.assert_array_equal(opened.rows("val", start, stop), images[start:stop])
    for damaged in (0, 63, 64, 100, 127, 128, COUNT - 1):
        flip(path, 8 * (offset + damaged * row + 5))
        with open_store(path, RAW) as opened:  # no image is read yet
            opened.images("train")
            if damaged // 64 in {number // 64 for number in range(start, stop)}:
                first = damaged // 64 * 64
                rows = rf"{first}\.\.{min(first + 63, COUNT - 1)}"
                where = rf"val/images changed since they were written, among rows {rows}"
                with pytest.raises(PrivpipeError, match=where):
                    opened.rows("val", start, stop)
            else:
                np.testing.assert_array_equal(opened.rows("val", start, stop), images[start:stop])
        flip(path, 8 * (offset + damaged * row + 5))


@pytest.mark.parametrize("what", ["train/labels", "test/labels", "val/digests"])
def test_labels_and_digests_are_compared_when_the_file_is_opened(tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "x.h5")
    offset, size = place(path, what)
    flip(path, 8 * (offset + size - 1))
    with pytest.raises(PrivpipeError, match="a checksum differs: its header, its labels or its structure"):
        open_store(path, RAW).__enter__()


@pytest.mark.parametrize("step", [1, 7, 63, 64, 65, 100, COUNT])
@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_the_bytes_do_not_depend_on_how_the_rows_were_handed_in(tmp_path: Path, dtype: str, step: int) -> None:
    header = replace(HEADER, dtype=dtype)
    whole = write(tmp_path / "whole.h5", header).read_bytes()
    assert write(tmp_path / "steps.h5", header, step).read_bytes() == whole


def backwards(writer: store.Writer, images: NDArray, labels: NDArray) -> None:
    for start in range(COUNT - 10, -10, -10):
        writer.write("train", start, images[start : start + 10], labels[start : start + 10])


def twice(writer: store.Writer, images: NDArray, labels: NDArray) -> None:
    writer.write("train", 0, 255 - images, labels)
    writer.write("train", 3, images[3:90], labels[3:90])
    writer.write("train", 0, images[:3], labels[:3])
    writer.write("train", 90, images[90:], labels[90:])


def not_contiguous(writer: store.Writer, images: NDArray, labels: NDArray) -> None:
    writer.write("train", 0, np.asfortranarray(images), labels)


@pytest.mark.parametrize("how", [backwards, twice, not_contiguous])
def test_rows_in_any_order_written_again_or_strided(tmp_path: Path, how: Write) -> None:
    images, labels = content()
    with create(tmp_path / "x.h5", HEADER, dict.fromkeys(SPLITS, 0) | {"train": COUNT}) as writer:
        how(writer, images, labels)
    with open_store(tmp_path / "x.h5", RAW) as opened:
        np.testing.assert_array_equal(opened.images("train"), images)
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["train/digests"][:], digests_of(images))


@pytest.mark.parametrize(
    ("image_bytes", "rows"), [(1, 64), (3072, 64), (8192, 64), (8193, 32), (150_528, 2), (2**19, 1), (2**25, 1)]
)
def test_images_that_share_a_digest(image_bytes: int, rows: int) -> None:
    assert block_rows(image_bytes) == rows


def test_the_checksums_are_those_that_are_documented(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")
    file, images = path.read_bytes(), content()[0].tobytes()
    text, last = file[:512].rstrip(b"\0").rsplit(b"xxh3_64 ", 1)
    places = sorted(place(path, f"{split}/images") for split in SPLITS)
    said = " ".join(f"{offset}+{size}" for offset, size in places)
    assert text.decode() == f"privpipe checked file\nbytes {len(file)}\nimages {said}\n"
    rest = file[512:].replace(images, b"")
    assert len(rest) == len(file) - 512 - 3 * len(images)
    assert last.decode() == xxhash.xxh3_64(text + rest).hexdigest() + "\n"
    with h5py.File(path) as opened:
        blocks = [images[first : first + 64 * 192] for first in (0, 64 * 192, 128 * 192)]
        assert opened["test/digests"][:].tolist() == [xxhash.xxh3_64(block).intdigest() for block in blocks]


def test_pieces_of_the_rest_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.h5")
    monkeypatch.setattr(checksum, "PIECE", 100)
    read(path)


@pytest.mark.parametrize("places", [[(600, 100), (650, 100)], [(0, 600)], [(600, 10**9)], [(10**15, 1)]])
def test_places_that_cannot_be(tmp_path: Path, places: list[tuple[int, int]]) -> None:
    path = write(tmp_path / "x.h5")
    size = path.stat().st_size
    said = "".join(f" {offset}+{length}" for offset, length in places)
    text = f"privpipe checked file\nbytes {size}\nimages{said}\nxxh3_64 {0:016x}\n".encode()
    path.write_bytes(text.ljust(512, b"\0") + path.read_bytes()[512:])
    with pytest.raises(PrivpipeError, match="it has no place for images of"):
        read(path)


def test_places_that_are_not_those_of_the_images(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")
    seal(path)
    with pytest.raises(PrivpipeError, match="its checksums are not those of its images"):
        read(path)
    reseal(path)
    read(path)


@pytest.mark.parametrize("digests", [np.zeros(2, np.uint64), np.zeros(3, np.int64), np.zeros((3, 1), np.uint64)])
def test_digests_that_are_not_those_of_the_blocks(tmp_path: Path, digests: NDArray) -> None:
    path = write(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        del file["val/digests"]
        file["val/digests"] = digests
    seal(path, [place(path, f"{split}/images") for split in SPLITS])
    with pytest.raises(PrivpipeError, match=r"val/digests has .*; expected uint64 \(3,\)"):
        read(path)


def test_a_sealed_file_is_one_that_check_takes(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5")
    copy = shutil.copy(path, tmp_path / "y.h5")
    with path.open("rb") as file:
        places = check(file.fileno())
    seal(copy, places[::-1])
    assert Path(copy).read_bytes() == path.read_bytes()
