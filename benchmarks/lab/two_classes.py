"""Image files of two classes that differ in one thing alone, as laboratories write them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.lab.dicom import dataset
from privpipe.reading import Reading

SIZE = 32
CLASSES = ("across", "along")
Values = np.ndarray[Any, np.dtype[Any]]
Write = Callable[[Path, np.random.Generator, int], None]


def field(rng: np.random.Generator, label: int, white: int) -> Values:
    """Noise, in which a bright half is the left one or the upper one: the mean tells nothing."""
    values = rng.integers(0, white // 4, (SIZE, SIZE))
    half = values[:, : SIZE // 2] if label else values[: SIZE // 2]
    half += white // 4
    return values.astype("u2")


def third_of_imagej(path: Path, rng: np.random.Generator, label: int) -> None:
    planes = rng.integers(0, 60000, (3, SIZE, SIZE)).astype("u2")
    planes[2] = field(rng, label, 60000)
    tifffile.imwrite(path.with_suffix(".tif"), planes, imagej=True, metadata={"axes": "CYX"})


def twelve_bits(path: Path, rng: np.random.Generator, label: int) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), field(rng, label, 400))  # of 4096, in 16 bits


def dicom(path: Path, rng: np.random.Generator, label: int) -> None:
    values, window = field(rng, label, 1200), {"WindowCenter": 400, "WindowWidth": 800}
    made = dataset(values, "MONOCHROME1", BitsStored=12, Rows=SIZE, Columns=SIZE, **window)
    made.save_as(path, enforce_file_format=True)  # without a suffix, as they come


def third_of_dicom(path: Path, rng: np.random.Generator, label: int) -> None:
    colours = rng.integers(0, 4096, (SIZE, SIZE, 3)).astype("u2")
    colours[..., 2] = field(rng, label, 4095)
    made = dataset(colours, "RGB", BitsStored=12, Rows=SIZE, Columns=SIZE)
    made.save_as(path.with_suffix(".dcm"), enforce_file_format=True)


def plane_of_ome(path: Path, rng: np.random.Generator, label: int) -> None:
    stack = rng.integers(0, 900, (2, 3, SIZE, SIZE)).astype("u2")
    stack[1, 1] = field(rng, label, 4095)  # in one plane of the second channel
    meta = {"axes": "CZYX", "SignificantBits": 12, "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path.with_suffix(".ome.tif"), stack, ome=True, metadata=meta)


def third_of_ome(path: Path, rng: np.random.Generator, label: int) -> None:
    planes = rng.integers(0, 4096, (3, SIZE, SIZE)).astype("u2")
    planes[2] = field(rng, label, 4095)
    meta = {"axes": "CYX", "SignificantBits": 12, "Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
    tifffile.imwrite(path.with_suffix(".ome.tif"), planes, ome=True, metadata=meta)


THREE = {"channels": [1, 2, 3]}, Reading(channels=("1", "2", "3"))
KINDS: dict[str, tuple[Write, dict[str, Any], Reading]] = {  # what writes them, `data` parameters, and what is recorded
    "16 bits, channel 3 alone, ImageJ": (third_of_imagej, *THREE),
    "12 bits, channel 3 alone, OME-TIFF": (third_of_ome, *THREE),
    "12 bits, blue alone, DICOM": (third_of_dicom, {}, Reading()),
    "12 bits and a window, DICOM": (dicom, {}, Reading()),
    "12 bits, one plane of channel 2, OME-TIFF": (
        plane_of_ome,
        {"channels": ["GFP"], "stack": "max"},
        Reading(channels=("GFP",), stack="max"),
    ),
    "a tenth of 12 bits, TIFF": (twelve_bits, {"range": "set"}, Reading(range="set")),
}


def write(kind: str, folder: Path, each: int) -> None:
    """`each` images of both classes, in a folder for each class."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            KINDS[kind][0](folder / name / f"IM{i:04}", np.random.default_rng([label, i]), label)
