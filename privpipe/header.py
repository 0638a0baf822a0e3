"""The header of an HDF5 file of images: what the file says of itself, and whether its content fits that."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from privpipe.checksum import block_rows
from privpipe.errors import CACHE_REMEDY, PrivpipeError
from privpipe.perturb.settings import as_text, parsed

RAW, PERTURBED = "privpipe-images", "privpipe-perturbed"
PUBLIC, LEAKED, QUERIES = "privpipe-public", "privpipe-leaked", "privpipe-queries"
FORMAT_VERSION = 2
SPLITS = ("train", "val", "test")
ATTRIBUTES = (
    *("format", "format_version", "method", "k", "scope", "sigma", "key_fingerprint", "salt"),
    *("class_names", "image_range"),
)
DTYPES = {"uint8", "float16"}
MAX_CLASSES = 10_000
MAX_VALUES = 2**24  # of one image


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Args:
        kind: RAW, PERTURBED, PUBLIC, LEAKED or QUERIES.
        method, k, scope: the transformation (`none` for raw images).
        class_names: name of label i at place i.
        image_range: the values that stand for black and white.
        shape: (H, W, C) of one image.
        dtype: `uint8` or `float16`.
        sigma: noise strength in grey levels of 0..255; 0 for methods without noise.
        key_fingerprint: of the key of a perturbed file; empty for keyless methods and all other kinds.
        salt: hexadecimal digits that follow from a real key, so that a public digest of a file of raw images
            confirms no guess of them; empty with a research key and in perturbed files.
        reading: how image files became these arrays (`privpipe.reading`); empty for the usual way, and then not in
            the file.
        settings: those that the method has of its own; of methods without any nothing is in the file.
        image_shape: (H, W, C) of the images that features were made of; None: that of `shape`, and then not in the
            file.
    """

    kind: str
    method: str
    k: int
    scope: str
    class_names: tuple[str, ...]
    image_range: tuple[float, float]
    shape: tuple[int, int, int]
    dtype: str
    sigma: float = 0.0
    key_fingerprint: str = ""
    salt: str = ""
    reading: str = ""
    settings: dict[str, float] = field(default_factory=dict)
    image_shape: tuple[int, int, int] | None = None

    @property
    def original_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of what was perturbed."""
        return self.image_shape or self.shape

    @property
    def stored_k(self) -> int:
        """`k` as it is in what is stored: one number stands for several pixels of an image where that is features."""
        return self.k if self.image_shape is None else max(1, self.k * self.shape[0] // self.image_shape[0])

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def write_header(file: h5py.File, header: Header) -> None:
    """Set the root attributes of a new file."""
    attributes = {
        "format": _text(header.kind),
        "format_version": np.int64(FORMAT_VERSION),
        "method": _text(header.method),
        "k": np.int64(header.k),
        "scope": _text(header.scope),
        "sigma": np.float64(header.sigma),
        "key_fingerprint": _text(header.key_fingerprint),
        "salt": _text(header.salt),
        **({"reading": _text(header.reading)} if header.reading else {}),
        **({"settings": _text(as_text(header.settings))} if header.settings else {}),
        **({"image_shape": np.array(header.image_shape, np.int64)} if header.image_shape else {}),
        "class_names": np.array([name.encode() for name in header.class_names]),
        "image_range": np.array(header.image_range, np.float64),
    }
    for name, value in attributes.items():
        file.attrs[name] = value


def damaged(path: Path, what: str) -> PrivpipeError:
    """The error for content of `path` that does not fit the format."""
    return PrivpipeError(f"{path} is damaged: {what}. Make it again with `dvc repro`, or pull it again. {CACHE_REMEDY}")


def read_header(file: h5py.File, path: Path, kind: str) -> Header:
    """The header of a file of `kind`, checked together with the layout of its splits.

    Raises:
        PrivpipeError: the file is of another kind or version, or its content does not fit its header.
    """
    try:
        attrs = file.attrs
        if "format" in attrs and (form := read_format(file)) != kind:
            raise PrivpipeError(
                f"{path} must be a {kind} file; its format is {form!r}. Pass the file that the stage names."
            )
        missing = [name for name in ATTRIBUTES if name not in attrs]
        if missing:
            raise ValueError(f"it has no attribute {', '.join(missing)}")
        version = int(attrs["format_version"])
        if version != FORMAT_VERSION:
            raise PrivpipeError(
                f"{path} has format version {version}; this privpipe reads version {FORMAT_VERSION}. "
                "Make it again with this version, or install the one that wrote it."
            )
        names = tuple(_decode(name) for name in np.atleast_1d(attrs["class_names"]))
        low, high = (float(value) for value in attrs["image_range"])
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"image_range is {low}, {high}")
        method, scope = _decode(attrs["method"]), _decode(attrs["scope"])
        shapes = {split: _check_split(file, split) for split in SPLITS}
        shape, dtype = shapes["train"]
        if any(other != (shape, dtype) for other in shapes.values()):
            raise ValueError("the splits differ in image shape or type")
        if not 0 < len(names) <= MAX_CLASSES:
            raise ValueError(f"{len(names)} class names")
        sigma, fingerprint, salt = float(attrs["sigma"]), _decode(attrs["key_fingerprint"]), _decode(attrs["salt"])
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma is {sigma}")
        reading = _decode(attrs["reading"]) if "reading" in attrs else ""
        settings = parsed(_decode(attrs["settings"])) if "settings" in attrs else {}
        about = (int(attrs["k"]), scope, names, (low, high), shape, dtype, sigma, fingerprint, salt, reading, settings)
        return Header(kind, method, *about, _image_shape(attrs["image_shape"]) if "image_shape" in attrs else None)
    except (KeyError, TypeError, ValueError, OverflowError, OSError, RuntimeError) as error:
        what = error.args[0] if isinstance(error, KeyError) else error  # str of a KeyError adds quotes
        raise damaged(path, str(what)) from error


def read_format(file: h5py.File) -> str:
    """What kind of file it says to be; KeyError where it says nothing, ValueError where that is no text."""
    return _decode(file.attrs["format"])


def _check_split(file: h5py.File, split: str) -> tuple[tuple[int, int, int], str]:
    """Shape (H, W, C) and type of a split's images; ValueError where the split is not as the format says."""
    for name in (split, f"{split}/images", f"{split}/labels", f"{split}/digests"):
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is missing or a link to elsewhere")
    images, labels, digests = (file[split][name] for name in ("images", "labels", "digests"))
    for data in (images, labels, digests):
        # Contiguous, in this file and complete: so no header asks for more memory than the file has bytes.
        if not isinstance(data, h5py.Dataset) or data.chunks or data.external or data.is_virtual:
            raise ValueError(f"{split} is not stored contiguously in the file itself")
        if data.id.get_storage_size() != data.size * data.dtype.itemsize:
            raise ValueError(f"{split} is not stored completely")
    if str(images.dtype) not in DTYPES or str(labels.dtype) != "int64":
        raise ValueError(f"{split} has types {images.dtype} and {labels.dtype}; expected uint8 or float16, and int64")
    if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels) or min(images.shape[1:]) < 1:
        raise ValueError(f"{split} has shapes {images.shape} and {labels.shape}; expected (N, H, W, C) and (N,)")
    if math.prod(images.shape[1:]) > MAX_VALUES:  # an empty split may declare any shape
        raise ValueError(f"{split} has images of shape {images.shape[1:]}, more than {MAX_VALUES:,} values each")
    blocks = -(-len(images) // block_rows(math.prod(images.shape[1:]) * images.dtype.itemsize))
    if str(digests.dtype) != "uint64" or digests.shape != (blocks,):
        raise ValueError(f"{split}/digests has {digests.dtype} {digests.shape}; expected uint64 ({blocks},)")
    return images.shape[1:], str(images.dtype)


def _image_shape(value: Any) -> tuple[int, int, int]:
    """(H, W, C) of an attribute; ValueError where it is none."""
    if not isinstance(value, np.ndarray) or value.dtype != np.int64 or value.shape != (3,):
        raise ValueError("image_shape is not three whole numbers")
    height, width, channels = (int(length) for length in value)
    if min(height, width, channels) < 1 or max(height, width, channels) > MAX_VALUES:
        raise ValueError(f"image_shape is {height}, {width}, {channels}")
    if height * width * channels > MAX_VALUES:
        raise ValueError(f"image_shape is of more than {MAX_VALUES:,} values")
    return height, width, channels


def _text(value: str) -> np.bytes_:
    """A fixed-length string: variable ones live in a heap of the file, whose layout may vary."""
    return np.bytes_(value.encode())


def _decode(value: Any) -> str:
    """The text of a fixed-length string; ValueError for all else (`bytes(n)` of a number takes n bytes of memory)."""
    if not isinstance(value, bytes):
        raise ValueError(f"an attribute is {type(value).__name__}; expected a string of fixed length")
    return value.decode()
