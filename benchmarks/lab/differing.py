"""Two classes of images that differ in one thing alone, as laboratories' programs write them.

In that one thing a bright half is the left one or the upper one, over noise: its mean tells nothing of the class. All
else that a file holds, such as further channels or planes, is noise of the same kind in both classes. Values fill 10 to
12 bits of 16 where nothing else is said.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.lab.dicom import dataset
from benchmarks.lab.layout import Array
from privpipe.reading import Reading

SIDE = 32  # pixels
CLASSES = ("across", "along")
Write = Callable[[Path, np.random.Generator, int], None]


@dataclass(frozen=True)
class Kind:
    """A kind of files.

    Args:
        write: writes an image of a class, 0 or 1; it adds the suffix to the path.
        settings: what must be set to read it: parameters of the group `data`.
    """

    name: str
    write: Write
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def reading(self) -> Reading:
        """What `settings` ask for."""
        settings = dict(self.settings)
        channels = settings.pop("channels", None)
        return Reading(**settings) if channels is None else Reading(tuple(map(str, channels)), **settings)


def halves(rng: np.random.Generator, label: int, white: int, dtype: str = "u2") -> Array:
    """Values up to `white` / 2 (SIDE, SIDE), in which the left or the upper half is brighter."""
    values = rng.integers(0, white // 4, (SIDE, SIDE))
    half = values[:, : SIDE // 2] if label else values[: SIDE // 2]
    half += white // 4
    return values.astype(dtype)


def noise(rng: np.random.Generator, white: int, *shape: int) -> Array:
    return rng.integers(0, white, (*shape, SIDE, SIDE)).astype("u2")


def third_channel(path: Path, rng: np.random.Generator, label: int) -> None:
    planes = noise(rng, 60_000, 3)
    planes[2] = halves(rng, label, 60_000)
    tifffile.imwrite(path.with_suffix(".tif"), planes, imagej=True, metadata={"axes": "CYX"})


def blue(path: Path, rng: np.random.Generator, label: int, planar: str) -> None:
    planes = noise(rng, 60_000, 3)
    planes[2] = halves(rng, label, 60_000)
    values = planes if planar == "separate" else np.moveaxis(planes, 0, -1)
    tifffile.imwrite(path.with_suffix(".tif"), values, photometric="rgb", planarconfig=planar)


def two_channels(path: Path, rng: np.random.Generator, label: int) -> None:
    planes = noise(rng, 4095, 2)
    planes[1] = halves(rng, label, 4095)
    tifffile.imwrite(path.with_suffix(".tif"), planes, photometric="minisblack")  # two pages


def twelve_bits(path: Path, rng: np.random.Generator, label: int, said: bool) -> None:
    tags = [(281, "H", 1, 4095, True)] if said else []  # MaxSampleValue
    tifffile.imwrite(path.with_suffix(".tif"), halves(rng, label, 4095 if said else 800), extratags=tags)


def z_stack(path: Path, rng: np.random.Generator, label: int) -> None:
    planes = noise(rng, 900, 5)
    planes[3] = halves(rng, label, 4095)
    tifffile.imwrite(path.with_suffix(".tif"), planes, imagej=True, metadata={"axes": "ZYX"})


def floats(path: Path, rng: np.random.Generator, label: int) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), (halves(rng, label, 1000) / 37 - 3).astype("f4"))


def ome(path: Path, rng: np.random.Generator, label: int) -> None:
    stack = noise(rng, 900, 2, 3)
    stack[1, 1] = halves(rng, label, 4095)  # in one plane of the second channel
    meta = {"axes": "CZYX", "SignificantBits": 12, "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path.with_suffix(".ome.tif"), stack, ome=True, metadata=meta)


def dicom(path: Path, rng: np.random.Generator, label: int, photometric: str = "MONOCHROME2") -> None:
    values, window = halves(rng, label, 1200), {"WindowCenter": 400, "WindowWidth": 800}
    made = dataset(values, photometric, BitsStored=12, Rows=SIDE, Columns=SIDE, **window)
    made.save_as(path, enforce_file_format=True)  # without a suffix, as they come


KINDS = (
    Kind("ImageJ hyperstack, 3 channels: the third", third_channel, {"channels": [1, 2, 3]}),
    Kind("16-bit RGB TIFF in planes: blue", lambda *image: blue(*image, "separate")),
    Kind("16-bit RGB TIFF in pixels: blue", lambda *image: blue(*image, "contig")),
    Kind("TIFF of two pages: the second channel", two_channels, {"channels": [1, 2], "range": "set"}),
    Kind("12 bits in 16, not said", lambda *image: twelve_bits(*image, False), {"range": "set"}),
    Kind("12 bits in 16, MaxSampleValue", lambda *image: twelve_bits(*image, True)),
    Kind("ImageJ stack over depth: plane 4 of 5", z_stack, {"stack": "max", "range": "set"}),
    Kind("TIFF of floats", floats, {"range": "set"}),
    Kind("OME-TIFF, 12 bits: GFP in one of 3 planes", ome, {"channels": ["GFP"], "stack": "max"}),
    Kind("DICOM, 12 bits with a window", dicom),
    Kind("DICOM, MONOCHROME1", lambda *image: dicom(*image, "MONOCHROME1")),
)


def write_images(folder: Path, kind: Kind, each: int) -> None:
    """A folder of `each` images of both classes."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            kind.write(folder / name / f"IM{i:04}", np.random.default_rng([label, i]), label)
