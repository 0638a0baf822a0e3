"""DICOM as pydicom writes it."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from benchmarks.lab.layout import SIZE, Array, Layout, levels, noise
from privpipe.reading import Reading


def layouts() -> Iterator[Layout]:
    """All of them."""
    yield from greys()
    yield from colours()
    yield from others()


def dataset(values: Array, photometric: str, syntax: Any = ExplicitVRLittleEndian, **tags: Any) -> Dataset:
    """An image as a DICOM object, of a patient who must not be quoted."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=["privpipe"])
    data.PatientName, data.PatientID = "Doe^Jane", "12345"
    data.Rows, data.Columns = SIZE, SIZE
    data.SamplesPerPixel = 3 if photometric == "RGB" or photometric.startswith("YBR") else 1
    data.PhotometricInterpretation = photometric
    data.BitsAllocated = data.BitsStored = 8 * values.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    if data.SamplesPerPixel == 3:
        data.PlanarConfiguration = 0
    for name, value in tags.items():
        setattr(data, name, value)
    data.HighBit = tags.get("HighBit", data.BitsStored - 1)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.PixelData = raw
        data["PixelData"].VR = "OW"
        data.compress(syntax, generate_instance_uid=False) if syntax == RLELossless else encapsulated(data, syntax)
        return data
    data.PixelData = raw
    data["PixelData"].VR = "OW" if data.BitsAllocated > 8 else "OB"
    return data


def encapsulated(data: Dataset, syntax: Any) -> None:
    """Compressed by imagecodecs, which pydicom does not do."""
    import imagecodecs

    encode = imagecodecs.jpeg2k_encode if syntax == JPEG2000Lossless else imagecodecs.jpegls_encode
    more = {"codecformat": "j2k", "level": 0, "reversible": True} if syntax == JPEG2000Lossless else {}
    values = pixel_array(data)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = pydicom.encaps.encapsulate([encode(values, **more)])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True


def layout(kind: str, name: str, make: Any, expected: Any, refusal: str = "", **how: Any) -> Layout:
    def write(path: Path) -> None:
        make().save_as(path, enforce_file_format=True)

    return Layout("pydicom", kind, name, how.pop("suffix", ".dcm"), write, expected, refusal, **how)


def windowed(path: Path) -> Array:
    """As pydicom shows it: the modality's values, the window, and inverted where high is black."""
    data = pydicom.dcmread(path)
    values = apply_modality_lut(pixel_array(data), data)
    if "WindowWidth" in data or "VOILUTSequence" in data:
        shown = apply_voi_lut(values, data).astype(float)
        if "VOILUTSequence" in data:
            black, white = 0.0, 2.0 ** data.VOILUTSequence[0].LUTDescriptor[2] - 1
        else:  # pydicom maps a window to the values that the stored bits can have
            black, white = full(data)
    else:
        shown, (black, white) = values.astype(float), full(data)
    if data.PhotometricInterpretation == "MONOCHROME1":
        return levels(white + black - shown, white, black)
    return levels(shown, white, black)


def full(data: Dataset) -> tuple[float, float]:
    """Black and white by the stored bits, through the rescaling."""
    bits = data.BitsStored
    black, white = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if data.PixelRepresentation else (0, 2**bits - 1)
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    return black * slope + intercept, white * slope + intercept


def greys() -> Iterator[Layout]:
    """MONOCHROME1 and 2, bits, signs, windows and rescaling, under the uncompressed transfer syntaxes."""
    syntaxes = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian, "big": ExplicitVRBigEndian}
    windows: dict[str, dict[str, Any]] = {
        "no window": {},
        "window": {"WindowCenter": 300, "WindowWidth": 401},
        "two windows": {"WindowCenter": [300, 40], "WindowWidth": [401, 80]},
        "exact window": {"WindowCenter": 300, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"},
    }
    rescales: dict[str, dict[str, Any]] = {
        "stored": {},
        "rescaled": {"RescaleSlope": 2, "RescaleIntercept": -1024},
    }
    for kind, bits, signed, window, rescale in product(
        ("MONOCHROME1", "MONOCHROME2"), (8, 12, 16), (False, True), windows, rescales
    ):
        dtype = ("i" if signed else "u") + ("1" if bits == 8 else "2")
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        values = np.random.default_rng(0).integers(low, high, (SIZE, SIZE), dtype, endpoint=True)
        tags = {"BitsStored": bits} | windows[window] | rescales[rescale]
        for syntax in syntaxes if (bits, signed) == (12, False) else ("explicit",):
            yield layout(
                f"{kind}, window" if windows[window] else kind,
                f"{kind}, {bits} bits, {'signed' if signed else 'unsigned'}, {window}, {rescale}, {syntax}",
                partial(dataset, values, kind, syntaxes[syntax], **tags),
                windowed,
                tolerance=1,  # halves fall to either side
            )
    values = noise("u2", SIZE, SIZE, white=4095)
    for codec, kind in product((RLELossless, JPEG2000Lossless), ("MONOCHROME1", "MONOCHROME2")):
        yield layout(
            "compressed",
            f"{kind}, {codec.name}",
            partial(dataset, values, kind, codec, BitsStored=12),
            windowed,
        )
    yield layout(
        "compressed",
        JPEGLSLossless.name,
        partial(dataset, values, "MONOCHROME2", JPEGLSLossless, BitsStored=12),
        lambda path: levels(values, 4095),
    )
    for name, limits in {"type": (4095, 0), "image": np.percentile(values, [99.9, 0.1])}.items():
        yield layout(
            "range",
            f"{name} instead of the window",
            partial(dataset, values, "MONOCHROME2", BitsStored=12, WindowCenter=300, WindowWidth=401),
            lambda path, limits=limits: levels(values, *limits),
            reading=Reading(range=name),
        )


def colours() -> Iterator[Layout]:
    """RGB in pixels and planes, YBR and palettes."""
    values = noise("u1", SIZE, SIZE, 3)
    for planar, codec in product((0, 1), (ExplicitVRLittleEndian, ImplicitVRLittleEndian)):
        stored = np.moveaxis(values, -1, 0) if planar else values
        yield layout(
            "colour",
            f"RGB, planar configuration {planar}, {codec.name}",
            partial(dataset, np.ascontiguousarray(stored), "RGB", codec, PlanarConfiguration=planar),
            lambda path: pixel_array(pydicom.dcmread(path)),
        )
    yield layout("colour", "RGB, RLE", partial(dataset, values, "RGB", RLELossless), lambda path: values)
    yield layout(
        "colour",
        "YBR_FULL",
        partial(dataset, values, "YBR_FULL"),
        lambda path: pixel_array(pydicom.dcmread(path)),
    )
    for entries in (8, 16):
        table = noise(f"u{entries // 8}", 3, 256)

        def make(table: Array = table, entries: int = entries) -> Dataset:
            data = dataset(noise("u1", SIZE, SIZE), "PALETTE COLOR")
            for name, row in zip(("Red", "Green", "Blue"), table, strict=True):
                setattr(data, f"{name}PaletteColorLookupTableDescriptor", [256, 0, entries])
                setattr(data, f"{name}PaletteColorLookupTableData", row.tobytes())
            return data

        def read(path: Path, entries: int = entries) -> Array:
            data = pydicom.dcmread(path)
            return levels(apply_color_lut(pixel_array(data), data), 2**entries - 1)

        yield layout("colour", f"palette of {entries} bits", make, read)


def others() -> Iterator[Layout]:
    """Frames, tables, files without images or names, and what must be refused."""
    frames = noise("u1", 3, SIZE, SIZE)
    several = partial(dataset, frames, "MONOCHROME2", NumberOfFrames=3)
    yield layout("frames", "3 frames", several, None, "3 frames")
    for stack, expected in {"first": frames[0], "max": frames.max(0)}.items():
        yield layout(
            "frames",
            f"3 frames, {stack}",
            several,
            lambda path, expected=expected: levels(expected, 255),
            reading=Reading(stack=stack),
        )
    values = noise("u1", SIZE, SIZE)
    plain = partial(dataset, values, "MONOCHROME2")
    yield layout("names", "no suffix", plain, lambda path: levels(values, 255), suffix="")
    yield layout("names", "the suffix of another kind", plain, lambda path: levels(values, 255), suffix=".png")

    def table(name: str, function: str) -> Dataset:
        data, lut = plain(), Dataset()
        lut.LUTDescriptor, lut.LUTData = [256, 0, 16], noise("u2", 256).tobytes()
        lut["LUTData"].VR = "OW"
        if name == "ModalityLUTSequence":
            lut.ModalityLUTType = "US"
        setattr(data, name, [lut])
        return data

    def by_modality(path: Path) -> Array:
        data = pydicom.dcmread(path)
        return levels(apply_modality_lut(pixel_array(data), data), 65535)

    yield layout("tables", "of the display", partial(table, "VOILUTSequence", ""), windowed)
    yield layout("tables", "of the modality", partial(table, "ModalityLUTSequence", ""), by_modality)

    def without_pixels() -> Dataset:
        data = plain()
        del data.PixelData
        return data

    def floats() -> Dataset:
        data = without_pixels()
        data.FloatPixelData, data.BitsAllocated = np.ones((SIZE, SIZE), "f4").tobytes(), 32
        return data

    def cut() -> Dataset:
        data = plain()
        data.PixelData = data.PixelData[:100]
        return data

    yield layout("no image", "no pixels", without_pixels, None, "DICOM without an image")
    yield layout("no image", "floats", floats, None, "DICOM without an image")
    yield layout("no image", "cut short", cut, None, "cut short or damaged")
    sigmoid = {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "SIGMOID"}
    yield layout("no image", "sigmoid window", partial(plain, **sigmoid), None, "sigmoid window")
