"""Images as people have them: any common file to an upright, square, 8-bit array.

image = read_image(Path("photo.jpg"), 32)
"""

import errno
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from privpipe.data.raster import Array, Raster, RefusedError, centre, render, selected, square
from privpipe.data.readers import dicom, pillow, tiff
from privpipe.data.sample import Sample
from privpipe.errors import PrivpipeError
from privpipe.reading import PLAIN, Reading

MAX_BYTES = 2**30  # of a file
HEAD = 132  # bytes that tell the kind of a file
HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
Result = TypeVar("Result")
KINDS = "PNG, JPEG, BMP, TIFF, WebP, GIF, AVIF, JPEG 2000 or DICOM image"


def read_image(path: Path, image_size: int, reading: Reading = PLAIN) -> NDArray[np.uint8]:
    """Read an image as a person sees it: upright, transparency on white; square, of one size.

    The kind is told from the content. Embedded colour profiles (ICC) are ignored: values are taken for sRGB. The centre
    square is resized (Lanczos); a square 8-bit image of `image_size` comes out bit for bit. Safe to call from many
    threads. (Of a damaged TIFF, libtiff itself may print a line to stderr.)

    Args:
        image_size: height and width of the result in pixels.
        reading: which channels, what of a stack, and which values are black and white.

    Returns:
        (image_size, image_size, C) uint8, 0..255, a C-contiguous array of its own; RGB unless `reading` names channels.

    Raises:
        PrivpipeError: `<path>: <reason>`; the file is missing, no regular file, empty, too large, damaged or cut
            short, no image, several images, or has values whose meaning or range is not known.
    """

    def decode(file: BinaryIO) -> NDArray[np.uint8]:
        decoded = _decoded(file, reading, image_size)
        if isinstance(decoded, Raster):
            return render(decoded, reading, image_size)
        return np.array(square(decoded, image_size).convert("RGB"))

    pixels = _opened(path, decode)
    if pixels.shape != (image_size, image_size, reading.count) or pixels.dtype != np.uint8:
        raise PrivpipeError(f"{path}: decoding gave {pixels.dtype} of shape {pixels.shape}")
    return pixels


def sample_values(path: Path, image_size: int, reading: Reading, sample: Sample) -> Array:
    """What the centre square of an image adds to a sample of its set, float32 (n, C).

    Raises:
        PrivpipeError: see `read_image`.
    """

    def decode(file: BinaryIO) -> Array:
        raster = _decoded(file, reading, image_size)
        assert isinstance(raster, Raster)  # percentiles are taken of nothing else
        values = selected(raster, reading)
        top, left, side = centre(*values.shape[:2])
        part = sample.of(values[top : top + side, left : left + side])
        if not np.isfinite(part).all():
            raise RefusedError("has values that are not finite (NaN or infinite); replace them first")
        return np.repeat(part, 3, axis=1) if part.shape[1] == 1 and reading.common else part

    return _opened(path, decode)


def _opened(path: Path, decode: Callable[[BinaryIO], Result]) -> Result:
    """What `decode` makes of an open file; a PrivpipeError with the file and the reason where it cannot."""
    try:
        size = _checked_size(path)
        if size == 0:
            raise RefusedError("the file is empty")
        if size > MAX_BYTES:
            raise RefusedError(f"the file has {size:,} bytes, more than {MAX_BYTES:,}")
        with pillow.quiet(), path.open("rb") as file:
            return decode(file)
    except Exception as error:  # decoders raise a dozen types for damaged input
        raise PrivpipeError(f"{path}: {_reason(error)}") from error


def _decoded(file: BinaryIO, reading: Reading, size: int) -> Raster | Image.Image:
    """An open image; of mode L or RGB where nothing is to be chosen of it, which saves copies."""
    head = file.read(HEAD)
    file.seek(0)
    frame = 0
    if head[128:] == dicom.SIGNATURE:
        return dicom.read_dicom(file, reading)
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        raise RefusedError("is HEIC, which is not read; save it as PNG, TIFF or JPEG")
    if head.startswith(tiff.SIGNATURES):
        decoded = tiff.read_tiff(file, reading)
        if isinstance(decoded, Raster):
            return decoded
        frame = decoded.index
        file.seek(0)
    return pillow.read(file, reading, size, frame)


def _reason(error: Exception) -> str:
    """Why an image cannot be read, in plain words."""
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return f"not a {KINDS}, or damaged at its beginning"
    if isinstance(error, Image.DecompressionBombError):
        return f"has more pixels than the {pillow.MAX_PIXELS:,} that are allowed; scale it down first"
    if isinstance(error, MemoryError):
        return "does not fit into memory; scale it down first"
    if isinstance(error, OSError) and error.errno and error.errno != errno.EINVAL:  # EINVAL: a damaged offset
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    # Other types than these are accidents of a parser, whose words help nobody; tifffile's may quote the file's tags.
    plain = isinstance(error, OSError | SyntaxError | ValueError) and type(error).__module__ in ("builtins", "PIL")
    said = str(error) if plain and str(error) else "no sound data"
    return f"cut short or damaged ({' '.join(said.split())})"


def _checked_size(path: Path) -> int:
    """The bytes of a regular file; a pipe or device would be read without end."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise RefusedError("is a folder, not an image")
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError("is not a regular file")
    return status.st_size
