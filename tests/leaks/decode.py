"""Images in files, whatever they are packed into and whatever they are called.

decoded = decode("report.html", content, sides={64})
decoded.images, decoded.unread

The form is told from the content: image files, data URIs and long base64 in any text, HDF5, NumPy, zip, gzip, bzip2, xz
and tar, safetensors, ONNX, and numbers in JSON and CSV. What holds other files is opened in turn. Pickles are never
loaded: they and everything of an unknown form are listed as unread, for the caller to judge.
"""

import base64
import binascii
import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEPTH = 6  # files inside files
SMALLEST = 12  # an image has this many pixels a side
BASE64 = re.compile(rb"[A-Za-z0-9+/_-](?:[A-Za-z0-9+/_-]|\s(?!\s)){298,}={0,2}")
DATA_URI = re.compile(rb"data:[\w/+.;=-]*,([^\"'>)]+)")  # matplotlib breaks their lines
NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
}  # fmt: skip


@dataclass
class Decoded:
    """What a file holds.

    Attributes:
        images: where each was found, and its values, float32 (H, W) or (H, W, 3), in about 0..255.
        unread: parts that could not be looked into, and why.
    """

    images: list[tuple[str, NDArray[np.float32]]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def decode(name: str, content: bytes, sides: Iterable[int]) -> Decoded:
    """All images in a file.

    Args:
        sides: heights of images that flat numbers may be rows of, whatever their shape says.
    """
    out = Decoded()
    _Decoder(out, tuple(sides)).file(name, content, 0)
    return out


def as_images(array: NDArray[Any], sides: Iterable[int]) -> Iterator[NDArray[np.float32]]:
    """The images that an array can stand for: by its shape, in either layout, and as flat rows of known sides."""
    if array.dtype.kind not in "uifb" or array.size < SMALLEST**2:
        return
    with np.errstate(over="ignore"):
        values = np.nan_to_num(array.astype(np.float32), nan=0, posinf=0, neginf=0)
    shape = values.shape
    large = [n >= SMALLEST for n in shape]
    if len(shape) >= 3 and shape[-1] in (1, 3, 4) and large[-3] and large[-2]:
        yield from map(_levels, values.reshape(-1, *shape[-3:]))
    elif len(shape) >= 3 and shape[-3] in (1, 3, 4) and large[-2] and large[-1]:
        yield from map(_levels, np.moveaxis(values.reshape(-1, *shape[-3:]), 1, -1))
    elif len(shape) >= 2 and large[-2] and large[-1]:
        yield from map(_levels, values.reshape(-1, *shape[-2:]))
    for side in sides:
        pixels = side * side
        squares = shape[-3:-1] == (side, side) or shape[-2:] == (side, side)
        if squares or values.size % pixels:
            continue
        if values.size % (3 * pixels) == 0:
            yield from map(_levels, values.reshape(-1, side, side, 3))
        yield from map(_levels, values.reshape(-1, side, side))


def _levels(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values stretched to 0..255, in one or three channels."""
    low, high = float(image.min()), float(image.max())
    stretched = (image - low) * (255 / (high - low) if high > low else 0)
    if stretched.ndim == 3 and stretched.shape[-1] != 3:
        stretched = stretched[..., 0] if stretched.shape[-1] == 1 else stretched[..., :3]
    return np.ascontiguousarray(stretched, dtype=np.float32)


HDF5 = b"\x89HDF\r\n\x1a\n"


class _Decoder:
    def __init__(self, out: Decoded, sides: tuple[int, ...]) -> None:
        self.out, self.sides = out, sides

    def file(self, name: str, content: bytes, depth: int) -> None:
        """Look into a file by its first bytes."""
        if not content:
            return
        if depth > DEPTH:
            self.out.unread.append(f"{name}: files in files, more than {DEPTH} deep")
            return
        try:
            if not any(form(self, name, content, depth) for form in FORMS):
                self.out.unread.append(f"{name}: {len(content)} bytes of an unknown form, {content[:8]!r}")
        except Exception as error:  # a reader's own, one of many: what cannot be read is told, not passed over
            self.out.unread.append(f"{name}: {type(error).__name__}: {error}")

    def array(self, name: str, array: NDArray[Any]) -> None:
        self.out.images += [(name, image) for image in as_images(array, self.sides)]

    def image(self, name: str, content: bytes, depth: int) -> bool:
        starts = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"GIF8")
        if not content.startswith(starts) and content[8:12] != b"WEBP":
            return False
        with Image.open(io.BytesIO(content)) as image:
            for frame in range(getattr(image, "n_frames", 1)):
                image.seek(frame)
                self.array(name, np.asarray(image.convert("RGB")))
                if "A" in image.getbands():
                    self.array(f"{name} (alpha)", np.asarray(image.getchannel("A")))
            for key, value in image.info.items():
                if isinstance(value, str | bytes) and len(value) > SMALLEST**2:
                    self.file(f"{name}[{key}]", value.encode() if isinstance(value, str) else value, depth + 1)
        return True

    def hdf5(self, name: str, content: bytes, depth: int) -> bool:
        # With a user block, as our own files have, the signature stands behind it.
        if not any(content[at : at + 8] == HDF5 for at in (0, *(512 << n for n in range(8)))):
            return False

        def look(path: str, item: h5py.Group | h5py.Dataset) -> None:
            for key, value in item.attrs.items():
                self.value(f"{name}:{path}@{key}", value, depth)
            if isinstance(item, h5py.Dataset):
                self.value(f"{name}:{path}", item[()], depth)

        with h5py.File(io.BytesIO(content)) as file:
            look("/", file)
            file.visititems(look)
        return True

    def value(self, name: str, value: Any, depth: int) -> None:
        """A dataset or an attribute: numbers may be images, and bytes may be a file."""
        if isinstance(value, h5py.Empty):
            return
        array = np.asarray(value)
        if array.dtype.kind in "uifb":
            self.array(name, array)
            if array.dtype.itemsize == 1 and array.ndim <= 1:
                _Quiet(self).file(name, array.tobytes(), depth + 1)
        elif array.dtype.kind in "SVOU":
            for cell in array.ravel():
                data = cell.encode() if isinstance(cell, str) else np.asarray(cell).tobytes()
                self.file(name, bytes(cell) if isinstance(cell, bytes) else data, depth + 1)

    def numpy(self, name: str, content: bytes, depth: int) -> bool:
        if not content.startswith(b"\x93NUMPY"):
            return False
        self.value(name, np.load(io.BytesIO(content), allow_pickle=False), depth)
        return True

    def zip(self, name: str, content: bytes, depth: int) -> bool:
        if not content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return False
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                self.file(f"{name}/{member}", archive.read(member), depth + 1)
        return True

    def squeezed(self, name: str, content: bytes, depth: int) -> bool:
        for start, opener in SQUEEZED.items():
            if content.startswith(start):
                self.file(f"{name}/", opener(content), depth + 1)
                return True
        return False

    def tar(self, name: str, content: bytes, depth: int) -> bool:
        if content[257:262] != b"ustar":
            return False
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                if (file := archive.extractfile(member)) is not None:
                    self.file(f"{name}/{member.name}", file.read(), depth + 1)
        return True

    def safetensors(self, name: str, content: bytes, depth: int) -> bool:
        length = int.from_bytes(content[:8], "little")
        if content[8:9] != b"{" or length > len(content) - 8:
            return False
        header = json.loads(content[8 : 8 + length])
        self.file(f"{name}:header", json.dumps(header.pop("__metadata__", {})).encode(), depth + 1)
        for tensor, about in header.items():
            start, end = (8 + length + offset for offset in about["data_offsets"])
            if about["dtype"] == "BF16":
                halves = np.frombuffer(content[start:end], "<u2").astype("<u4") << 16
                array = halves.view("<f4")
            else:
                array = np.frombuffer(content[start:end], SAFETENSORS[about["dtype"]])
            self.array(f"{name}:{tensor}", array.reshape(about["shape"]))
        return True

    def onnx(self, name: str, content: bytes, depth: int) -> bool:
        if b"onnx" not in content[:200] and not name.endswith(".onnx"):
            return False
        import onnx

        model = onnx.load_model_from_string(content)
        for entry in model.metadata_props:
            self.file(f"{name}@{entry.key}", entry.value.encode(), depth + 1)
        for tensor in model.graph.initializer:
            self.array(f"{name}:{tensor.name}", onnx.numpy_helper.to_array(tensor))
        return True

    def text(self, name: str, content: bytes, depth: int) -> bool:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return False
        if "\0" in text:
            return False
        for found in DATA_URI.finditer(content):
            self.packed(f"{name} (data URI)", unquote_to_bytes(found[1]), depth)
        if b"%" in content:
            content = unquote_to_bytes(content)
        rest = DATA_URI.sub(b" ", content)
        for found in BASE64.finditer(rest):
            self.packed(f"{name} (base64)", found[0], depth)
        numbers = [float(number) for number in NUMBER.findall(rest)] if len(rest) > 2 * SMALLEST**2 else []
        try:
            self.json(name, json.loads(text))
        except (json.JSONDecodeError, RecursionError):
            self.table(name, text, numbers)
        return True

    def packed(self, name: str, data: bytes, depth: int) -> None:
        """Base64 or as it is; what is neither, such as a long word, is no file."""
        clean = re.sub(rb"\s", b"", data).replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        try:
            inner = base64.b64decode(clean + b"=" * (-len(clean) % 4), validate=True)
        except binascii.Error:
            inner = data
        _Quiet(self).file(name, inner, depth + 1)

    def json(self, name: str, value: Any) -> None:
        """Every list of numbers, at any depth, as the array that it is and flat."""
        if isinstance(value, dict):
            for key, inner in value.items():
                self.json(f"{name}.{key}", inner)
        elif isinstance(value, list):
            try:
                array = np.array(value, dtype=np.float64)
            except (ValueError, TypeError):
                for i, inner in enumerate(value):
                    self.json(f"{name}[{i}]", inner)
            else:
                self.array(name, array)
        elif isinstance(value, str) and len(value) > 300:
            _Quiet(self).file(name, value.encode(), 1)

    def table(self, name: str, text: str, numbers: list[float]) -> None:
        """Numbers of a text as rows, where these are of one length, and column by column."""
        lines = [NUMBER.findall(line.encode()) for line in text.splitlines()]
        rows = [list(map(float, line)) for line in lines if len(line) > 0]
        width = max((len(row) for row in rows), default=0)
        full = np.array([row for row in rows if len(row) == width], np.float64)
        if full.size:
            self.array(f"{name} (rows)", full)
            for column in full.T:
                self.array(f"{name} (column)", column)
        if len(numbers) != full.size:
            self.array(f"{name} (numbers)", np.array(numbers))


class _Quiet(_Decoder):
    """For bytes that need not be a file: what has no known form is passed over."""

    def __init__(self, outer: _Decoder) -> None:
        super().__init__(outer.out, outer.sides)

    def file(self, name: str, content: bytes, depth: int) -> None:
        unread = list(self.out.unread)
        super().file(name, content, depth)
        known = content.startswith(KNOWN)
        if not known:
            self.out.unread[:] = unread


SQUEEZED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
}
KNOWN = (b"\x89PNG", b"\xff\xd8\xff", HDF5, b"PK\x03\x04", b"\x93NUMPY", b"\x1f\x8b\x08", b"\xfd7zXZ")
FORMS = (
    _Decoder.image, _Decoder.hdf5, _Decoder.numpy, _Decoder.zip, _Decoder.squeezed, _Decoder.tar,
    _Decoder.safetensors, _Decoder.onnx, _Decoder.text,
)  # fmt: skip
