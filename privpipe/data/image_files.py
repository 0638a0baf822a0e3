"""Images as people have them: any common file to an upright, square, 8-bit RGB array.

from privpipe.data.image_files import find_images, read_image
images = [read_image(path, 32) for path in find_images(Path("photos"))]
"""

import errno
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from privpipe.errors import PrivpipeError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
READERS = {  # importing them is what lets Pillow read these formats, and no other is asked for
    "PNG": PngImagePlugin,
    "JPEG": JpegImagePlugin,
    "BMP": BmpImagePlugin,
    "TIFF": TiffImagePlugin,
    "WEBP": WebPImagePlugin,
}
MAX_PIXELS = 2**26  # decoded: 256 MiB as Pillow holds them, and a conversion needs a second copy
MAX_BYTES = 2**30  # of a file
SHARPNESS = 2  # a JPEG may be decoded smaller, but not below this many times the size that is wanted

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


def find_images(folder: Path) -> list[Path]:
    """The images below a folder by their suffix (see SUFFIXES, in any case), sorted by path.

    Hidden files and folders are skipped, links to folders are followed, and a folder that links lead to twice is
    searched once, one above `folder` not at all. A link to a missing image is listed, so that reading it says so.

    Raises:
        PrivpipeError: the folder, or one below it, is missing or may not be listed.
    """

    def refuse(error: OSError) -> None:
        raise PrivpipeError(f"cannot list {error.filename}: {error.strerror}. Check the path and its rights.")

    # A link to a folder above leads to what is not asked for: to the other classes, say.
    seen = {_identity(parent) for parent in Path(os.path.realpath(folder)).parents}
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        if (identity := _identity(place)) in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in files if is_image_name(name)]
    return sorted(found, key=str)


def _identity(folder: str | Path) -> tuple[int, int]:
    """What tells folders apart, whatever path leads to them."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def read_image(path: Path, image_size: int) -> NDArray[np.uint8]:
    """Read an image as a person sees it: upright, in colour, transparency on white; square, of one size.

    The format is told from the content: PNG, JPEG, BMP, TIFF or WebP; of several frames the first counts. 16 bits
    become 8 by scaling. Embedded colour profiles (ICC) are ignored: values are taken for sRGB. The centre square
    is resized (Lanczos); a square image of `image_size` comes out bit for bit. Safe to call from many threads.
    (Of a damaged TIFF, libtiff itself may print a line to stderr.)

    Args:
        image_size: height and width of the result in pixels.

    Returns:
        (image_size, image_size, 3) uint8 RGB, 0..255, a C-contiguous array of its own.

    Raises:
        PrivpipeError: `<path>: <reason>`; the file is missing, no regular file, empty, too large, damaged or cut
            short, no image, or has values whose range is not known (32 bits per pixel, floats, LAB).
    """
    try:
        size = _checked_size(path)
        if size == 0:
            raise _RefusedError("the file is empty")
        if size > MAX_BYTES:
            raise _RefusedError(f"the file has {size:,} bytes, more than {MAX_BYTES:,}")
        with _quiet(), path.open("rb") as file, Image.open(file, formats=tuple(READERS)) as image:
            pixels = np.array(_square(_upright_rgb(image, image_size), image_size))
    except Exception as error:  # Pillow raises a dozen types for damaged input
        raise PrivpipeError(f"{path}: {_reason(error)}") from error
    if pixels.shape != (image_size, image_size, 3) or pixels.dtype != np.uint8:
        raise PrivpipeError(f"{path}: decoding gave {pixels.dtype} of shape {pixels.shape}")
    return pixels


class _RefusedError(Exception):
    """An image that is not read, for the reason that the message gives."""


def _reason(error: Exception) -> str:
    """Why an image cannot be read, in plain words."""
    if isinstance(error, _RefusedError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not a PNG, JPEG, BMP, TIFF or WebP image, or damaged at its beginning"
    if isinstance(error, Image.DecompressionBombError):
        return f"has more pixels than the {MAX_PIXELS:,} that are allowed; scale it down first"
    if isinstance(error, MemoryError):
        return "does not fit into memory; scale it down first"
    if isinstance(error, OSError) and error.errno and error.errno != errno.EINVAL:  # EINVAL: a damaged offset
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    # Other types than these are accidents of a parser, whose words help nobody.
    said = str(error) if isinstance(error, OSError | SyntaxError | ValueError) and str(error) else "no sound data"
    return f"cut short or damaged ({' '.join(said.split())})"


def _checked_size(path: Path) -> int:
    """The bytes of a regular file; a pipe or device would be read without end."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise _RefusedError("is a folder, not an image")
    if not stat.S_ISREG(status.st_mode):
        raise _RefusedError("is not a regular file")
    return status.st_size


def _upright_rgb(image: Image.Image, wanted: int) -> Image.Image:
    """The first frame as RGB, turned upright; a JPEG may come out smaller, though never below `wanted`."""
    full = image.size
    if isinstance(image, JpegImagePlugin.JpegImageFile):  # also an MPO, which has several of them
        image.draft(None, (SHARPNESS * wanted, SHARPNESS * wanted))
    # A progressive JPEG is held whole in memory, however small it is decoded.
    width, height = full if "progressive" in image.info else image.size
    if width * height > MAX_PIXELS:
        raise _RefusedError(
            f"has {width:,} x {height:,} pixels, more than the {MAX_PIXELS:,} that are allowed; scale it down first"
        )
    image.load()
    # After loading: a PNG may have its EXIF data at the end, and a TIFF has been turned already and says so.
    turn = UPRIGHT.get(_orientation(image))
    rgb = _rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or where the EXIF data cannot be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data is common, and the image beside it sound
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """A decoded image of any mode as 8-bit RGB, transparency on white."""
    if image.mode.startswith("I;16"):
        image = _grey_of_16_bits(image)
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(seen, mask=seen)
        return canvas
    if image.mode in ("I", "F", "LAB"):
        kind = {"I": "32-bit or signed integers", "F": "floating-point numbers", "LAB": "LAB colours"}[image.mode]
        raise _RefusedError(f"its pixels are {kind}, whose black and white are not known; save it with 8 or 16 bits")
    return image.convert("RGB")


def _grey_of_16_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits (mode L; LA where one grey stands for transparency)."""
    values = np.asarray(image).astype(np.uint32)
    white = 65535
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        white = 2 ** min(16, int(np.max(image.tag_v2.get(DEPTH, 16)))) - 1  # 12 bits are stored as they are
        if image.tag_v2.get(WHITE_IS_ZERO) == 0:
            values = white - values
    grey = Image.fromarray(((values * 255 + white // 2) // white).clip(0, 255).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _square(image: Image.Image, size: int) -> Image.Image:
    """The centre square of an RGB image, resized to (size, size)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=3.0)


class _Silence:
    """Who reads images now: `warnings` has one list of filters for all threads, so the first one in changes it
    and the last one out puts it back."""

    lock = threading.Lock()
    readers = 0
    saved = warnings.catch_warnings()


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings from Pillow inside the block: of odd metadata that no image needs, and of sizes checked here."""
    with _Silence.lock:
        if _Silence.readers == 0:
            _Silence.saved = warnings.catch_warnings()
            _Silence.saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata, and sizes that are checked here
        _Silence.readers += 1
    try:
        yield
    finally:
        with _Silence.lock:
            _Silence.readers -= 1
            if _Silence.readers == 0:
                _Silence.saved.__exit__(None, None, None)
