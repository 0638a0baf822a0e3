"""PNG, JPEG, BMP, WebP, GIF, AVIF and JPEG 2000, and plain 8-bit TIFF: by Pillow, as a person sees them."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from privpipe.data.raster import COLOUR_NAMES, Raster, RefusedError, upright
from privpipe.reading import AUTO, Reading

READERS = {  # importing them is what lets Pillow read these formats, and no other is asked for
    "PNG": PngImagePlugin,
    "JPEG": JpegImagePlugin,
    "BMP": BmpImagePlugin,
    "TIFF": TiffImagePlugin,
    "WEBP": WebPImagePlugin,
    "GIF": GifImagePlugin,
    "AVIF": AvifImagePlugin,
    "JPEG2000": Jpeg2KImagePlugin,
}
MAX_PIXELS = 2**26  # decoded: 256 MiB as Pillow holds them, and a conversion needs a second copy
SHARPNESS = 2  # a JPEG may be decoded smaller, but not below this many times the size that is wanted
ANIMATED = {"WEBP", "GIF", "AVIF"}  # whose frames follow each other; further ones of a JPEG (MPO) or PNG are extras
GREY = {"1", "L", "LA", "La"}  # modes of Pillow

WHITE_IS_ZERO, DEPTH, ORIENTATION = 262, 258, 274  # TIFF tags; EXIF uses the last one too
UPRIGHT = {  # EXIF orientation: what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow logs some of what it then raises; the error that we make of it names the file, the log does not.
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _open_image(file: BinaryIO, reading: Reading, size: int, frame: int = 0) -> tuple[Image.Image, bool]:
    """The image of an open file, upright, transparency on white; and whether it is grey by its kind.

    Its mode is L where it is grey without transparency, else RGB: a grey image takes a third of the time to resize.

    Args:
        size: that is wanted: a JPEG may come smaller than it is, not below this.
        frame: of a TIFF.

    Raises:
        RefusedError: it has too many pixels, several frames, or values whose range is not known.
        Exception: of Pillow, of a dozen types, for damaged files.
    """
    depth = _png_depth(file)
    with Image.open(file, formats=tuple(READERS)) as image:
        if image.format in ANIMATED and getattr(image, "n_frames", 1) > 1 and reading.stack != "first":
            raise RefusedError("holds an animation, not one image: set data.stack to first, or save one of its frames")
        if frame:
            image.seek(frame)
        if depth in (2, 4) and isinstance(level := image.info.get("transparency"), int) and image.mode == "L":
            image.info["transparency"] = level * 255 // (2**depth - 1)  # Pillow scales the levels, but not this one
        return _upright(image, size), image.mode in GREY or image.mode.startswith("I;16")


def read(file: BinaryIO, reading: Reading, size: int, frame: int = 0) -> Raster | Image.Image:
    """The image of an open file, upright; of mode L or RGB where nothing is to be chosen of it, which saves copies.

    A PNG of 16 bits keeps them where percentiles are to be taken, or where one of its colours stands for transparency:
    Pillow gives 8 bits of colours, by which others may be the same.

    Args, errors: see `_open_image`.
    """
    percentiles = reading.range in ("set", "image")
    if _png_depth(file) == 16 and (percentiles or _has_transparent_colour(file)):
        return _deep_png(file)
    image, grey = _open_image(file, reading, size, frame)
    if reading.channels == (AUTO,) and not percentiles:
        return image
    values = np.asarray(image).reshape(image.height, image.width, -1)
    white = (0.0, 255.0)
    return Raster(values[..., :1], white, white) if grey else Raster(values, white, white, True, COLOUR_NAMES)


def _png_depth(file: BinaryIO) -> int:
    """Bits of each value of a PNG; 0 for other files."""
    head = file.read(25)
    file.seek(0)
    return head[24] if head.startswith(b"\x89PNG") and len(head) == 25 else 0


def _has_transparent_colour(file: BinaryIO) -> bool:
    with Image.open(file, formats=["PNG"]) as image:
        found = "transparency" in image.info
    file.seek(0)
    return found


def _deep_png(file: BinaryIO) -> Raster:
    """A PNG of 16 bits by OpenCV."""
    with Image.open(file, formats=["PNG"]) as image:
        check_pixels(*image.size)
        orientation, transparent = _orientation(image), image.info.get("transparency")
    file.seek(0)
    values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise RefusedError("cut short or damaged (no sound data)")
    white, alpha = (0.0, 65535.0), None
    colours = values[..., None] if values.ndim == 2 else values[..., 2::-1]
    if transparent is not None:
        alpha = (colours != np.array(transparent)).any(axis=2).astype(np.float32)
    elif values.ndim == 3 and values.shape[2] == 4:
        alpha = values[..., 3] / np.float32(65535)
    if values.ndim == 2:
        return upright(Raster(colours, white, white, alpha=alpha), orientation)
    return upright(Raster(colours, white, white, True, COLOUR_NAMES, alpha=alpha), orientation)


def check_pixels(width: int, height: int) -> None:
    """Refuse more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise RefusedError(
            f"has {width:,} x {height:,} pixels, more than the {MAX_PIXELS:,} that are allowed; scale it down first"
        )


def _upright(image: Image.Image, wanted: int) -> Image.Image:
    """The first frame as L or RGB, turned upright; a JPEG may come out smaller, though never below `wanted`."""
    full = image.size
    if isinstance(image, JpegImagePlugin.JpegImageFile):  # also an MPO, which has several of them
        image.draft(None, (SHARPNESS * wanted, SHARPNESS * wanted))
    # A progressive JPEG is held whole in memory, however small it is decoded.
    width, height = full if "progressive" in image.info else image.size
    check_pixels(width, height)
    image.load()
    # After loading: a PNG may have its EXIF data at the end, and a TIFF has been turned already and says so.
    turn = UPRIGHT.get(_orientation(image))
    plain = _plain(image)
    return plain if turn is None else plain.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or where the EXIF data cannot be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data is common, and the image beside it sound
        return 1


def _plain(image: Image.Image) -> Image.Image:
    """A decoded image of any mode as 8-bit L or RGB, transparency on white."""
    if image.mode.startswith("I;16"):
        image = _grey_of_16_bits(image)
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(seen, mask=seen)
        return canvas
    if image.mode in ("I", "F", "LAB"):
        kind = {"I": "32-bit or signed integers", "F": "floating-point numbers", "LAB": "LAB colours"}[image.mode]
        raise RefusedError(f"its pixels are {kind}, whose black and white are not known; save it with 8 or 16 bits")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _grey_of_16_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits (mode L)."""
    values = np.asarray(image).astype(np.uint32)
    white = 65535
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        white = 2 ** min(16, int(np.max(image.tag_v2.get(DEPTH, 16)))) - 1  # 12 bits are stored as they are
        if image.tag_v2.get(WHITE_IS_ZERO) == 0:
            values = white - values
    return Image.fromarray(((values * 255 + white // 2) // white).clip(0, 255).astype(np.uint8))


class _Silence:
    """Who reads images now: `warnings` has one list of filters for all threads, so the first one in changes it
    and the last one out puts it back."""

    lock = threading.Lock()
    readers = 0
    saved = warnings.catch_warnings()


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings from Pillow inside the block: of odd metadata that no image needs, and of sizes checked here."""
    with _Silence.lock:
        if _Silence.readers == 0:
            _Silence.saved = warnings.catch_warnings()
            _Silence.saved.__enter__()
            # Odd metadata, and sizes that are checked here; pydicom's quote the values of tags.
            warnings.filterwarnings("ignore", module=r"(PIL|pydicom|tifffile|privpipe\.data\.readers)\.")
        _Silence.readers += 1
    try:
        yield
    finally:
        with _Silence.lock:
            _Silence.readers -= 1
            if _Silence.readers == 0:
                _Silence.saved.__exit__(None, None, None)
