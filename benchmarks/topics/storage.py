"""The HDF5 file against the same bytes written and read raw: `python -m benchmarks --only storage`."""

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting, hot_spots
from benchmarks.timing import Spread, faster, side_by_side
from privpipe import store
from privpipe.store import CHUNK_BYTES, PERTURBED, SPLITS, Header, create, open_store

TITLE = "Storage"
ABOUT = """
The file of perturbed images against the same bytes in a plain file: both are written in the same chunks under a
temporary name, synced to the disk and renamed; both are read into the tensor that trains, from the cache of the
operating system. The rate is of wall-clock time, the ratio that of the rates. What is read is checked on the way: the
header, the labels, the checksums of everything and, of float16, that every value is finite. What the checksums of the
images take is measured by reading the same file without comparing them. Here the file comes from the cache of the
operating system, as fast as memory is copied, so that even the fastest checksums are felt; what comes from a disk or
over a network takes many times longer to read, and the same to check.

The files lie in a temporary folder of the checkout, on its disk: `/tmp` may be a part of memory, whose rates say
nothing.
"""


def write_store(path: Path, images: NDArray[Any], labels: NDArray[np.int64]) -> None:
    header = Header(
        PERTURBED, "none", 1, "dataset", tuple("abcdefghij"), (0.0, 1.0), images.shape[1:], str(images.dtype)
    )
    with create(path, header, dict.fromkeys(SPLITS, 0) | {"train": len(images)}) as writer:
        for start, stop in chunks(images):
            writer.write("train", start, images[start:stop], labels[start:stop])


def write_raw(path: Path, images: NDArray[Any], labels: NDArray[np.int64]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb", buffering=0) as file:
        for start, stop in chunks(images):
            file.write(memoryview(images[start:stop]).cast("B"))
        file.write(memoryview(labels).cast("B"))
        os.fsync(file.fileno())
    os.replace(partial, path)


def chunks(images: NDArray[Any]) -> list[tuple[int, int]]:
    """The rows that the store handles at a time."""
    step = max(1, CHUNK_BYTES // images[0].nbytes)
    return [(start, min(start + step, len(images))) for start in range(0, len(images), step)]


def read_store(path: Path) -> torch.Tensor:
    with open_store(path, PERTURBED) as opened:
        opened.labels("train")
        return torch.from_numpy(opened.images("train"))


def read_unchecked(path: Path) -> torch.Tensor:
    """The same without the checksums of the images."""
    with patch.object(store, "_intact", lambda block, expected: True):
        return read_store(path)


def read_raw(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> torch.Tensor:
    images = np.empty(shape, dtype)
    with path.open("rb", buffering=0) as file:
        view = memoryview(images).cast("B")
        done = 0
        while done < len(view):
            done += file.readinto(view[done:]) or 0
        file.read(8 * shape[0])
    return torch.from_numpy(images)


def measure(setting: Setting) -> Outcome:
    count, repeats = setting.pick(60_000, 3000), setting.pick(9, 3)
    folder = setting.folder("storage")
    targets: list[Target] = []
    facts: dict[str, float] = {}
    rows: list[list[Cell]] = []
    for dtype in (np.dtype(np.uint8), np.dtype(np.float16)):
        images, labels = setting.images(count).astype(dtype), setting.labels(count)
        setting.tell(f"write and read {count:,} images of {dtype}, {images.nbytes / 1e6:.0f} MB")
        ours, raw = folder / f"{dtype}.h5", folder / f"{dtype}.raw"
        wrote = side_by_side(
            {
                "ours": lambda o=ours, x=images, y=labels: write_store(o, x, y),
                "raw": lambda o=raw, x=images, y=labels: write_raw(o, x, y),
            },
            repeats,
        )
        if not torch.equal(read_store(ours), read_raw(raw, images.shape, dtype)):
            raise AssertionError(f"storage of {dtype}: the contenders disagree")
        read = side_by_side(
            {
                "ours": lambda o=ours: read_store(o),
                "raw": lambda o=raw, x=images: read_raw(o, x.shape, x.dtype),
                "unchecked": lambda o=ours: read_unchecked(o),
            },
            repeats,
        )
        slower = faster(read, "unchecked", "ours")
        cost = Spread(*(100 * (value - 1) for value in (slower.median, slower.low, slower.high)))
        text = f"Checksums when reading HDF5, {dtype}: share of the time of reading"
        targets.append(Target(f"checksums-{dtype}", text, "%", cost, at_most=10))
        for what, timings, call in (
            ("write", wrote, lambda o=ours, x=images, y=labels: write_store(o, x, y)),
            ("read", read, lambda o=ours: read_store(o)),
        ):
            share = faster(timings, "ours", "raw")
            percent = Spread(100 * share.median, 100 * share.low, 100 * share.high)
            rates = [images.nbytes / Spread.of(timings[name].wall).median / 1e6 for name in ("ours", "raw")]
            facts[f"{what}_mb_per_second_{dtype}"] = rates[0]
            rows.append([what, str(dtype), round(images.nbytes / 1e6), *rates, percent])
            text = f"HDF5 {what}, {dtype}: share of the raw rate"
            bound = hot_spots(call) if percent.median < 80 else ""
            targets.append(Target(f"{what}-{dtype}", text, "%", percent, at_least=80, bound=bound))
    columns = ["", "type", "MB", "HDF5, MB/s", "raw, MB/s", "share, %"]
    return Outcome(targets, [Table(f"{count:,} images of 32x32", columns, rows)], facts=facts)
