"""DICOM: one image, as a viewer shows it. Needs pydicom, of the optional group `lab`.

Nothing of a file but its pixels and what they mean is looked at, and no message quotes any of it: a patient's data
reaches neither our files nor our logs.
"""

import logging
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from privpipe.data.raster import COLOUR_NAMES, Array, Raster, RefusedError
from privpipe.data.readers.stack import one_of
from privpipe.reading import Reading

SIGNATURE = b"DICM"  # after a preamble of 128 bytes
MAX_BYTES = 2**28  # of the decoded pixels, all frames together
GREY, COLOUR = {"MONOCHROME1", "MONOCHROME2"}, {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
CODECS = {  # transfer syntaxes: what of imagecodecs decodes them
    "1.2.840.10008.1.2.4.57": "ljpeg_decode",
    "1.2.840.10008.1.2.4.70": "ljpeg_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
}
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # it logs values of tags


def read_dicom(file: BinaryIO, reading: Reading) -> Raster:
    """Decode a DICOM file that is open.

    Grey values are those of the modality (rescaled), black and white those of the first window that the file has, else
    of its bits; MONOCHROME1 is inverted. Padding around an image is as dark as the darkest of it, and no darker.
    Overlays are not drawn.

    Raises:
        RefusedError: pydicom is not installed, the file has no pixels, several frames (for `max`: with different
            rescaling), or is damaged.
    """
    if find_spec("pydicom") is None:
        raise RefusedError("is DICOM, which needs the package pydicom: install it with `pip install 'privpipe[lab]'`")
    import pydicom
    from pydicom.uid import UID

    data: Any = None
    try:
        data = pydicom.dcmread(file)
        if "PixelData" not in data:
            # FloatPixelData, or no image at all: a report, a plan, a directory of other files.
            raise RefusedError("is DICOM without an image of whole numbers (a report, a plan, or floats); leave it out")
        if _bytes(data) > MAX_BYTES:
            raise RefusedError(f"has frames of more than {MAX_BYTES:,} bytes together; save the one that you mean")
        frames = _pixels(data)
        if len(frames) > 1 and reading.stack == "max" and not _one_scale(data):
            raise RefusedError("holds frames that are rescaled each in its own way; set data.stack to first")
        plane = one_of(_masked(data, frames), reading.stack, f"{len(frames)} frames")
        raster = _interpreted(data, np.ma.getdata(plane), windowed=reading.range == "declared")
        return _without_padding(raster, np.ma.getmaskarray(plane))
    except RefusedError:
        raise
    except NotImplementedError as error:
        raise _undecoded(str(UID(data.file_meta.TransferSyntaxUID).name)) from error
    except RuntimeError as error:  # no decoder for this compression
        if data is not None and data.file_meta.TransferSyntaxUID.is_encapsulated:
            raise _undecoded(str(UID(data.file_meta.TransferSyntaxUID).name)) from error
        raise RefusedError("cut short or damaged (no sound DICOM data)") from None
    except MemoryError:
        raise
    except Exception:  # pydicom's words may quote the file's
        raise RefusedError("cut short or damaged (no sound DICOM data)") from None


def _undecoded(syntax: str) -> RefusedError:
    return RefusedError(
        f"is DICOM compressed as {syntax}, which cannot be decoded here or is damaged; decompress it first, with "
        "`dcmdjpeg` or `gdcmconv --raw`"
    )


def _bytes(data: Any) -> int:
    pixels = int(data.Rows) * int(data.Columns) * int(data.get("NumberOfFrames") or 1)
    return pixels * int(data.SamplesPerPixel) * -(-int(data.BitsAllocated) // 8)


def _pixels(data: Any) -> Array:
    """(frames, H, W, C) as stored; colours as RGB."""
    from pydicom.pixels.processing import apply_color_lut

    kind = str(data.PhotometricInterpretation)
    if kind not in GREY | COLOUR | {"PALETTE COLOR"}:
        raise RefusedError("is DICOM with colours of an unusual kind; save it as RGB or MONOCHROME2")
    values: Array = _by_imagecodecs(data) if _needs_imagecodecs(data) else _by_pydicom(data)
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, data)[..., :3]
    count, samples = int(data.get("NumberOfFrames") or 1), 1 if kind in GREY else 3
    return values.reshape(count, int(data.Rows), int(data.Columns), samples)


def _one_scale(data: Any) -> bool:
    """Whether all frames of an enhanced file have the same rescaling."""
    groups = data.get("PerFrameFunctionalGroupsSequence") or []
    items = [group.get("PixelValueTransformationSequence") or [{}] for group in groups]
    return len({(item[0].get("RescaleSlope"), item[0].get("RescaleIntercept")) for item in items}) < 2


def _masked(data: Any, frames: Array) -> Array:
    """Grey frames (frames, H, W, 1), masked where they are padding around the image (PS3.3, C.7.5.1.1.2)."""
    said = [data.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if said[0] is None or frames.shape[3] != 1:
        return frames
    # Some writers give the bits of a signed value as an unsigned one.
    ends = np.array([int(value) for value in said if value is not None]).astype(frames.dtype)
    low, high = ends.min(), ends.max()
    return np.ma.masked_where((frames >= low) & (frames <= high), frames)


def _without_padding(raster: Raster, outside: NDArray[np.bool_]) -> Raster:
    """With the darkest value of the rest for those (H, W, C) that are padding; an image of padding alone stays."""
    if not outside.any() or outside.all():
        return raster
    rest = raster.values[~outside]
    return replace(raster, values=np.where(outside, rest.max() if raster.inverted else rest.min(), raster.values))


def _by_pydicom(data: Any) -> Array:
    """The values as pydicom decodes them; where a file's high bit is another than the last of them, by that bit.

    Of a word with spare bits, HighBit says where the stored ones end; pydicom 3.0.2 takes the lowest, wherever that is.
    """
    from pydicom.pixels.utils import pixel_array

    allocated, bits = int(data.BitsAllocated), int(data.BitsStored)
    high = int(data.get("HighBit", bits - 1))
    if high == bits - 1 or data.file_meta.TransferSyntaxUID.is_encapsulated:
        return pixel_array(data)
    if not bits - 1 <= high < allocated:
        raise RefusedError("cut short or damaged (no sound DICOM data)")
    data.BitsStored, data.HighBit = allocated, allocated - 1  # words as they are
    try:
        words = pixel_array(data)
    finally:
        data.BitsStored, data.HighBit = bits, high
    values: Array = (words << (allocated - 1 - high)) >> (allocated - bits)  # of signed words, with the sign
    return values


def _needs_imagecodecs(data: Any) -> bool:
    """Whether the pixels are grey values in a compression that pydicom itself does not decode."""
    return data.file_meta.TransferSyntaxUID in CODECS and int(data.SamplesPerPixel) == 1


def _by_imagecodecs(data: Any) -> Array:
    """Grey values (frames, H, W) of lossless JPEG or JPEG-LS."""
    try:
        import imagecodecs
    except ImportError as error:
        raise NotImplementedError from error
    from pydicom.encaps import generate_frames

    decode = getattr(imagecodecs, CODECS[data.file_meta.TransferSyntaxUID])
    count, bits = int(data.get("NumberOfFrames") or 1), int(data.BitsStored)
    values: Array = np.stack([decode(frame) for frame in generate_frames(data.PixelData, number_of_frames=count)])
    if values.dtype.kind != "u":
        raise NotImplementedError
    if int(data.PixelRepresentation) == 1:  # two's complement of `bits` bits
        spare = 8 * values.dtype.itemsize - bits
        values = (values << spare).view(f"i{values.dtype.itemsize}") >> spare
    return values


def _interpreted(data: Any, values: Array, windowed: bool) -> Raster:
    """What the values (H, W, C) of a frame mean; `windowed`: black and white are to be those of its window."""
    bits = int(data.BitsStored)
    if values.shape[2] == 3:
        if str(data.PhotometricInterpretation) == "PALETTE COLOR":
            bits = 8 * values.dtype.itemsize
        white = (0.0, float(2**bits - 1))
        return Raster(values, white, white, True, COLOUR_NAMES)
    slope, intercept = float(_said(data, "RescaleSlope", 1)), float(_said(data, "RescaleIntercept", 0))
    signed = int(data.PixelRepresentation) == 1
    stored = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    inverted = str(data.PhotometricInterpretation) == "MONOCHROME1"
    inverted |= data.get("PresentationLUTShape") == "INVERSE" and not inverted
    if "ModalityLUTSequence" in data or "VOILUTSequence" in data:
        return _by_tables(data, values, inverted, windowed)
    values = values * slope + intercept if (slope, intercept) != (1.0, 0.0) else values
    low, high = sorted(value * slope + intercept for value in stored)
    return Raster(values, (_window(data) if windowed else None) or (low, high), (low, high), inverted=inverted)


def _by_tables(data: Any, values: Array, inverted: bool, windowed: bool) -> Raster:
    """Grey values through the tables that a file brings, for the modality and for the display."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    values = apply_modality_lut(values, data)
    if "VOILUTSequence" in data:
        values = apply_voi(values, data)
        depth = int(data.VOILUTSequence[0].LUTDescriptor[2])
    else:
        depth = int(data.ModalityLUTSequence[0].LUTDescriptor[2])
    full = (0.0, 2.0**depth - 1)
    window = _window(data) if windowed and "VOILUTSequence" not in data else None
    return Raster(values, window or full, full, inverted=inverted)


def _window(data: Any) -> tuple[float, float] | None:
    """The values that become black and white in the first window of a file (PS3.3, C.11.2.1.2)."""
    center, width = _said(data, "WindowCenter", None), _said(data, "WindowWidth", None)
    if center is None or width is None:
        return None
    function = str(_said(data, "VOILUTFunction", "LINEAR"))
    if function == "SIGMOID":
        raise RefusedError("is DICOM with a sigmoid window, which is not read; set data.range to type or set")
    low, high = float(center) - float(width) / 2, float(center) + float(width) / 2
    if function == "LINEAR":
        low, high = float(center) - 0.5 - (float(width) - 1) / 2, float(center) - 0.5 + (float(width) - 1) / 2
    return low, max(high, low + 1e-6)


def _said(data: Any, name: str, default: Any) -> Any:
    """The first value of a tag, in the file itself or in the groups of an enhanced one."""
    places = [data]
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for kind in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
            places += [item for group in list(data.get(groups) or [])[:1] for item in list(group.get(kind) or [])[:1]]
    for place in places:
        value = place.get(name)
        if value is not None and value != "":
            return value if isinstance(value, str | int | float) else value[0] if hasattr(value, "__len__") else value
    return default
