"""TIFF files of microscopes, scanners and scripts: their structure by tifffile, their pixels by it or by Pillow.

Pillow misreads some kinds without a word (16-bit colour in planes, signed values, stacks, further channels). It is kept
for the plain 8-bit ones, which it reads rightly and fast, with all compressions of libtiff.
"""

import logging
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, SAMPLEFORMAT, TiffFile, TiffPage, TiffPageSeries

from privpipe.data.raster import COLOUR_NAMES, Array, Raster, RefusedError, upright
from privpipe.data.readers.stack import one_of
from privpipe.reading import AUTO, Reading

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_BYTES = 2**28  # of a decoded file, all its planes together: what 2**26 pixels of 8-bit RGBA take
MAX_PAGES = 10_000
LAB = "install it with `pip install 'privpipe[lab]'`, or save the file uncompressed"

REDUCED, MASK = 1, 4  # bits of NewSubfileType
PILLOW_COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946}
# Deflate and packbits are fast with imagecodecs only; LZW is slower with it than in Pillow.
DIRECT = {1, 8, 32773, 32946} if find_spec("imagecodecs") else {1}
PILLOW_SAMPLES: dict[int, int] = {  # photometric interpretation: colour channels, of 8 bits or (grey) of 1
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
}
UNREAD: dict[int, str] = {
    PHOTOMETRIC.MASK: "a transparency mask",
    PHOTOMETRIC.CIELAB: "LAB colours",
    PHOTOMETRIC.ICCLAB: "LAB colours",
    PHOTOMETRIC.ITULAB: "LAB colours",
    PHOTOMETRIC.CFA: "raw values of a camera's sensor",
    PHOTOMETRIC.LINEAR_RAW: "raw values of a camera's sensor",
    PHOTOMETRIC.LOGL: "logarithmic luminances",
    PHOTOMETRIC.LOGLUV: "logarithmic luminances",
    PHOTOMETRIC.DEPTH_MAP: "a map of depths",
}
OME_FILE = re.compile(r"<(?:\w+:)?UUID\b[^>]*>\s*([^<\s]+)")  # where planes lie: an identifier of the file
ONE_OF_SEVERAL = (
    ", of which none is an image by itself; save each image as one file (Fiji: open the set with Bio-Formats, then "
    "File > Save As > Tiff)"
)
# tifffile logs what it finds odd, with the values of tags: they may be a patient's.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class PlainFrame:
    """A frame that Pillow reads rightly, by its number in the file."""

    index: int


def read_tiff(file: BinaryIO, reading: Reading) -> Raster | PlainFrame:
    """Decode a TIFF file that is open.

    Raises:
        RefusedError: it is damaged, has several images, or pixels of a kind that is not read.
        Exception: of tifffile, for damaged files.
    """
    try:
        with TiffFile(file) as tiff:
            if len(tiff.pages) > MAX_PAGES:
                raise RefusedError(f"has {len(tiff.pages):,} pages, more than {MAX_PAGES:,}; save those that you mean")
            series = _image(tiff, reading)
            page = series.keyframe
            if page.photometric in UNREAD:
                raise RefusedError(f"its pixels are {UNREAD[page.photometric]}; save it as grey or RGB")
            if not _is_plain(page, series, tiff):
                return _decode(tiff, series, page, reading)
            if _is_direct(page):
                with suppress(Exception):  # what is odd or damaged is left to Pillow, and its words
                    return _decode(tiff, series, page, reading)
            return PlainFrame(page.index)
    except ValueError as error:
        if "requires the 'imagecodecs' package" in str(error):
            raise RefusedError(f"its compression needs the package imagecodecs; {LAB}") from error
        raise


def _image(tiff: TiffFile, reading: Reading) -> TiffPageSeries:
    """The one image of a file: thumbnails and masks, which say that they are some, do not count."""
    _check_alone(tiff)
    every = [series for series in tiff.series if not series.keyframe.subfiletype & (REDUCED | MASK)]
    if not every:
        raise RefusedError("holds thumbnails or masks only; save the image itself")
    if len(every) > 1 and reading.stack != "first":
        sizes = ", ".join("×".join(map(str, series.shape)) for series in every[:4])
        raise RefusedError(
            f"holds {len(every)} images of different kinds ({sizes}{', ...' if len(every) > 4 else ''}): set "
            "data.stack to first, or save the one that you mean"
        )
    return every[0]


def _check_alone(tiff: TiffFile) -> None:
    """Refuse parts of an OME-TIFF of several files, which name each other.

    Before `TiffFile.series`, which would open whatever files are named, and fills those that are missing with zeros.
    """
    files = set(OME_FILE.findall(tiff.ome_metadata or "")) if tiff.is_ome else ()
    if len(files) > 1:
        raise RefusedError(f"is one of the {len(files)} files of an OME-TIFF{ONE_OF_SEVERAL}")


def _is_plain(page: TiffPage, series: TiffPageSeries, tiff: TiffFile) -> bool:
    """Whether Pillow reads the one image of a file rightly (and tifffile need not)."""
    samples = PILLOW_SAMPLES.get(page.photometric)
    if samples is None or _planes(series) > 1 or "C" in series.axes:
        return False
    extra = page.samplesperpixel - samples
    transparent = extra == 1 and tuple(page.extrasamples) == (EXTRASAMPLE.UNASSALPHA,)
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None and page.colormap.max() < 256:
        return False  # a palette of 8 bits, not 16: Pillow would divide it by 256
    return (
        (extra == 0 or (transparent and page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB)))
        and (page.bitspersample == 8 or (page.bitspersample == 1 and page.samplesperpixel == 1))
        and page.sampleformat == SAMPLEFORMAT.UINT
        and (page.planarconfig == 1 or page.samplesperpixel == 1)
        and page.compression in PILLOW_COMPRESSIONS
        and not (tiff.is_bigtiff and tiff.byteorder == ">")
    )


def _is_direct(page: TiffPage) -> bool:
    """Whether tifffile gives the same values as Pillow for a plain page: it is open already, and faster."""
    return (
        page.bitspersample == 8
        and page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
        and not page.extrasamples
        and page.compression in DIRECT
    )


def _planes(series: TiffPageSeries) -> int:
    """How many planes there are besides channels and samples."""
    return math.prod(n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXSC")


def _decode(tiff: TiffFile, series: TiffPageSeries, page: TiffPage, reading: Reading) -> Raster:
    height, width = page.imagelength, page.imagewidth
    if series.size * series.dtype.itemsize > MAX_BYTES:
        raise RefusedError(
            f"has {series.size:,} values of {series.dtype.itemsize} bytes, more than the {MAX_BYTES:,} bytes that are "
            "allowed; scale it down, or save the plane that you mean"
        )
    if series.dtype.kind not in "biuf":
        raise RefusedError("its pixels are complex numbers; save their magnitude")
    _check_complete(tiff, series)
    values = np.asarray(series.asarray(maxworkers=1))
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    axes = _axes(series, reading)
    if not {"Y", "X"} <= set(axes):
        raise RefusedError(f"has the axes {axes}, of which none are height and width")
    values = _as_planes(values.reshape(series.shape), axes, reading)
    if values.shape[:2] != (height, width):
        raise RefusedError(f"has images of {height}×{width} that decode to {values.shape[0]}×{values.shape[1]}")
    return upright(_interpreted(tiff, page, values, "C" in axes), _orientation(page))


def _check_complete(tiff: TiffFile, series: TiffPageSeries) -> None:
    """Refuse files that are cut short: tifffile fills what is missing with zeros."""
    size = tiff.filehandle.size
    for page in series.pages:
        if page is None:
            raise RefusedError("cut short or damaged (a page is missing)")
        if page.parent is not tiff:  # Micro-Manager's stacks, which tifffile puts together from all files of a folder
            raise RefusedError(f"is one of several files of a stack{ONE_OF_SEVERAL}")
        segments: Iterable[tuple[int, int]] = zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(offset + count > size for offset, count in segments):
            raise RefusedError("cut short or damaged (its pixels end after the file)")
        if not page.dataoffsets or 0 in page.databytecounts:
            raise RefusedError("cut short or damaged (parts of its pixels are not stored)")


def _axes(series: TiffPageSeries, reading: Reading) -> str:
    """The axes of a series; pages of no stated meaning are channels where channels are asked for by number or name."""
    axes: str = series.axes
    unknown = [axis for axis, n in zip(axes, series.shape, strict=True) if axis in "IQ" and n > 1]
    if reading.channels != (AUTO,) and len(unknown) == 1 and "C" not in axes and "S" not in axes:
        return axes.replace(unknown[0], "C")
    return axes


def _as_planes(values: Array, axes: str, reading: Reading) -> Array:
    """The plane (H, W, C) that stands for all; channels or, where there are none, samples come last."""
    if "C" in axes and "S" in axes:
        raise RefusedError("has several channels of several samples each; save one channel, or all as grey")
    last = "C" if "C" in axes else "S" if "S" in axes else ""
    others = [axis for axis in axes if axis not in "YXSC"]
    values = values.transpose([axes.index(axis) for axis in (*others, "Y", "X", *last)])
    sizes = values.shape[: len(others)]
    stacked = values.reshape(math.prod(sizes), *values.shape[len(others) : len(others) + 2], -1)
    named = ", ".join(f"{axis} {n}" for axis, n in zip(others, sizes, strict=True) if n > 1)
    return one_of(stacked, reading.stack, f"{len(stacked)} planes ({named})")


def _interpreted(tiff: TiffFile, page: TiffPage, values: Array, channels: bool) -> Raster:
    """What the values (H, W, C) of a plane mean, by the page's tags."""
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    declared, extremes = _declared(tiff, page, values.dtype), _extremes(values.dtype)
    photometric, inverted = page.photometric, page.photometric == PHOTOMETRIC.MINISWHITE
    if photometric == PHOTOMETRIC.PALETTE and not channels:
        return _from_palette(page, values)
    if photometric == PHOTOMETRIC.SEPARATED and not channels:
        return _from_inks(values, declared or extremes)
    if photometric == PHOTOMETRIC.YCBCR and not channels:
        # Decoders of JPEG turn it to RGB; other YCbCr that Pillow does not read is left to other programs.
        if page.compression not in (COMPRESSION.JPEG, COMPRESSION.APERIO_JP2000_YCBC, COMPRESSION.JPEG2000):
            raise RefusedError("its pixels are YCbCr colours of an unusual kind; save it as RGB")
        photometric = PHOTOMETRIC.RGB
    colour = photometric == PHOTOMETRIC.RGB and not channels
    values, alpha, premultiplied = _alpha(page, values, 3 if colour else 1, extremes if declared is None else declared)
    names, tints = _named(tiff, values.shape[2], colour)
    return Raster(values, declared, extremes, colour, names, tints, inverted, alpha, premultiplied)


def _declared(tiff: TiffFile, page: TiffPage, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Black and white: by MaxSampleValue or OME's SignificantBits where they tell a number of bits, else by the type.

    Writers that put the greatest value of an image into MaxSampleValue would have each image scaled by itself, so
    only values of 2**bits - 1 count.
    """
    if dtype.kind == "f" or dtype.itemsize > 2:
        return None
    if dtype.kind == "i":
        return _extremes(dtype)
    bits = page.bitspersample
    said = [tag.value for code in (341, 281) if (tag := page.tags.get(code)) is not None]
    for value in (int(np.max(one)) for one in said if isinstance(one, int | tuple)):
        if value > 255 and value & (value + 1) == 0:
            bits = min(bits, value.bit_length())
    significant = re.search(r'SignificantBits="(\d{1,2})"', tiff.ome_metadata or "") if tiff.is_ome else None
    if significant and int(significant[1]) >= 1:
        bits = min(bits, int(significant[1]))
    return 0.0, float(2**bits - 1)


def _extremes(dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype.kind == "f":
        return 0.0, 1.0
    return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)


def _from_palette(page: TiffPage, values: Array) -> Raster:
    colours = np.asarray(page.colormap)  # (3, 2**bits) of 16 bits; some writers use 8 of them
    if values.shape[2] != 1 or int(values.max()) >= colours.shape[1]:
        raise RefusedError("cut short or damaged (values outside its palette)")
    white = 255.0 if colours.max() < 256 else 65535.0
    return Raster(np.moveaxis(colours, 0, -1)[values[..., 0]], (0.0, white), (0.0, white), True)


def _from_inks(values: Array, full: tuple[float, float]) -> Raster:
    """CMYK, naively: what is left of white by the inks and black."""
    if values.shape[2] != 4 or values.dtype.kind == "f":
        raise RefusedError(f"its pixels are {values.shape[2]} inks; save it as RGB")
    left = 1 - (values.astype(np.float32) - full[0]) / (full[1] - full[0])
    return Raster(left[..., :3] * left[..., 3:], (0.0, 1.0), (0.0, 1.0), True)


def _alpha(page: TiffPage, values: Array, colours: int, full: tuple[float, float]) -> tuple[Array, Array | None, bool]:
    """The values without their transparency, that as (H, W) of 0..1, and whether they were multiplied by it."""
    kinds = tuple(page.extrasamples)
    transparent = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
    if len(kinds) != 1 or kinds[0] not in transparent or values.shape[2] != colours + 1:
        return values, None, False
    alpha = (values[..., -1].astype(np.float32) - full[0]) / (full[1] - full[0])
    return values[..., :-1], alpha, kinds[0] == EXTRASAMPLE.ASSOCALPHA


def _named(tiff: TiffFile, count: int, colour: bool) -> tuple[tuple[str, ...], Array | None]:
    """Names of the channels and their colours (C, 3), by OME metadata."""
    if colour:
        return COLOUR_NAMES, None
    if not tiff.is_ome:
        return (), None
    found = re.findall(r"<Channel\b[^>]*>", tiff.ome_metadata or "")[:count]
    names = [re.search(r'\bName="([^"]*)"', one) for one in found]
    colours = [re.search(r'\bColor="(-?\d{1,11})"', one) for one in found]
    tints = None
    if len(found) == count and all(colours):
        rgba = [int(one[1]) % 2**32 for one in colours if one]
        tints = np.array([[value >> 24 & 255, value >> 16 & 255, value >> 8 & 255] for value in rgba]) / 255
    return tuple(unescape(name[1]) if name else "" for name in names), tints


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get(274)
    return int(tag.value) if tag is not None and isinstance(tag.value, int) else 1
