"""Reading the CIFAR-10 archive, python or binary version, in memory and without trusting what is in it.

Formats: https://www.cs.toronto.edu/~kriz/cifar.html. The python version is made of pickles, and a pickle is a
program. This one may name five functions, and even those are replaced by stand-ins that only carry bytes, so
that nothing of numpy runs on the pickle's word.
"""

import gzip
import io
import math
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from privpipe.data.images import RawImages
from privpipe.data.opcodes import check_opcodes
from privpipe.errors import PrivpipeError

SIDE, COLOURS, CLASSES = 32, 3, 10
ROW = COLOURS * SIDE * SIDE  # an image is stored as its red plane, then green, then blue, each row-major
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]

# The full archive has 7 to 9 members and 190 MB; one rebuilt with Python 3 has 45 MB in a member, 270 MB in all.
MAX_MEMBERS = 1000
MAX_MEMBER_SIZE = 64 << 20
MAX_TOTAL_SIZE = 512 << 20
MAX_HEADER_SIZE = 64 << 10  # of an extended header: a long name, a time with fractions of seconds
BLOCK, PIECE = tarfile.BLOCKSIZE, 1 << 20
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# Known ones that are no file, a folder or a link say, are followed by the next header whatever size they claim.
EMPTY = set(tarfile.SUPPORTED_TYPES) - set(tarfile.REGULAR_TYPES)

# Every member that is read, by its name in the archive: the layout it belongs to and its role there.
EXPECTED = {
    **{f"cifar-10-batches-py/{role}": ("python", role) for role in (*TRAIN, "test_batch", "batches.meta")},
    **{f"cifar-10-batches-bin/{role}.bin": ("binary", role) for role in (*TRAIN, "test_batch")},
    "cifar-10-batches-bin/batches.meta.txt": ("binary", "batches.meta"),
}

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]  # (n, 3072) and (n,)


def read_archive(path: Path) -> tuple[RawImages, RawImages]:
    """Read the archive's training and test part; nothing is written to disk.

    Args:
        path: a gzip-compressed tar in the layout of cifar-10-python.tar.gz or cifar-10-binary.tar.gz, told apart
            by the members. The batches may be of any size.

    Returns:
        Train (the five batches in order) and test; images (N, 32, 32, 3) uint8 RGB, labels 0 to 9.

    Raises:
        PrivpipeError: the file cannot be read, is damaged, is not such an archive, or holds what no CIFAR-10
            archive does: a path that leads outside, a link, a member twice or too large, a pickle of anything else.
    """
    layouts: set[str] = set()
    batches: dict[str, Batch] = {}
    names: tuple[str, ...] | None = None
    for member, content in _expected_members(path):
        layout, role = EXPECTED[member]
        layouts.add(layout)
        where = f"{member} in {path}"
        if role == "batches.meta":
            names = _python_names(content, where) if layout == "python" else _binary_names(content, where)
        else:
            batches[role] = _python_batch(content, where) if layout == "python" else _binary_batch(content, where)
    if len(layouts) != 1:
        which = "both" if layouts else "neither"
        raise PrivpipeError(
            f"{path} holds {which} of cifar-10-batches-py/ and cifar-10-batches-bin/, where one is expected. "
            "Give the python or the binary version of CIFAR-10, as from https://www.cs.toronto.edu/~kriz/cifar.html."
        )
    missing = [role for role in (*TRAIN, "test_batch") if role not in batches]
    if names is None or missing:
        missing += ["batches.meta"] if names is None else []
        raise PrivpipeError(f"{path} lacks {', '.join(missing)}. {_again(path)}")
    return _join([batches.pop(role) for role in TRAIN], names), _join([batches.pop("test_batch")], names)


def _join(batches: list[Batch], names: tuple[str, ...]) -> RawImages:
    """Concatenate the batches, from planes of colour to colours of a pixel."""
    labels = np.concatenate([labels for _, labels in batches])
    images = np.empty((len(labels), SIDE, SIDE, COLOURS), np.uint8)
    start = 0
    for rows, _ in batches:
        images[start : start + len(rows)] = rows.reshape(-1, COLOURS, SIDE, SIDE).transpose(0, 2, 3, 1)
        start += len(rows)
    return RawImages(images, labels, names)


def _again(path: Path) -> str:
    return f"The file is damaged, cut or not CIFAR-10: remove {path} and run again, or fetch it anew."


class _BoundedGzip(gzip.GzipFile):
    """A gzip stream that refuses to yield more than `MAX_TOTAL_SIZE` bytes: a small file can unpack to terabytes."""

    left = MAX_TOTAL_SIZE

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(self.left + 1 if size is None or size < 0 else size)
        self.left -= len(content)
        if self.left < 0:
            raise PrivpipeError(f"{self.name} unpacks to more than {MAX_TOTAL_SIZE >> 20} MiB: not a CIFAR-10 archive.")
        return content


def _expected_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member that is in EXPECTED, in the archive's order; the others are looked at only."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise PrivpipeError(f"cannot read {path}: {error.strerror or error}. Check data.archive.") from error
    with raw, _BoundedGzip(str(path), fileobj=raw) as stream:
        seen: set[str] = set()
        try:
            for member in _members(stream, path):
                name = _checked_name(member, seen, path)
                padded = -(-max(0, member.size) // BLOCK) * BLOCK if member.type not in EMPTY else 0
                if name in EXPECTED:
                    seen.add(name)
                    content = _read(stream, padded)
                    yield name, content[: member.size]
                else:
                    for start in range(0, padded, PIECE):
                        _read(stream, min(PIECE, padded - start))
            while stream.read(1 << 20):  # to the end: gzip's own checksum is there
                pass
        except PrivpipeError:
            raise
        except Exception as error:  # gzip, zlib and tarfile raise a dozen types for damaged input
            raise PrivpipeError(f"cannot unpack {path}: {_reason(error)}. {_again(path)}") from error


def _members(stream: _BoundedGzip, path: Path) -> Iterator[tarfile.TarInfo]:
    """The header of each member; the caller reads its content from `stream` before it asks for the next.

    Not by `tarfile`, which follows what extended headers say: those are counted by nothing, and a long number, map or
    list of headers in them costs it time that grows with the square of their size (CVE-2024-6232 is one case). No name
    or size in an archive of CIFAR-10 needs one, so that they are counted, looked at and passed over.

    Raises:
        PrivpipeError: there are more than `MAX_MEMBERS` headers, or one is larger than `MAX_HEADER_SIZE`.
    """
    for _ in range(MAX_MEMBERS + 1):
        block = stream.read(BLOCK)
        if block in (b"", bytes(BLOCK)):
            return  # the end is two such blocks; some programs write none
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.type not in EXTENDED:
            yield header
        elif not 0 <= header.size <= MAX_HEADER_SIZE:
            raise PrivpipeError(
                f"{path} is refused: it has a header of {header.size:,} bytes, more than {MAX_HEADER_SIZE >> 10} KiB. "
                "Use an archive that you trust."
            )
        elif b"GNU.sparse" in _read(stream, -(-header.size // BLOCK) * BLOCK):
            raise PrivpipeError(f"{path} is refused: it holds a sparse file. Use an archive that you trust.")
    raise PrivpipeError(f"{path} has more than {MAX_MEMBERS} members: not a CIFAR-10 archive.")


def _read(stream: _BoundedGzip, size: int) -> bytes:
    """`size` bytes; EOFError where the archive ends before."""
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("it ends within a member")
    return content


def _checked_name(member: tarfile.TarInfo, seen: set[str], path: Path) -> str:
    """The member's name without a leading `./`; PrivpipeError if the member has no place in an honest archive."""
    name = PurePosixPath(member.name)
    problem = None
    if name.is_absolute() or ".." in name.parts:
        problem = "leads out of the archive's folder"
    elif str(name) in EXPECTED:
        if str(name) in seen:
            problem = "appears twice"
        elif member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            problem = "is not a regular file"
        elif not 0 <= member.size <= MAX_MEMBER_SIZE:
            problem = f"has {member.size:,} bytes, more than {MAX_MEMBER_SIZE >> 20} MiB"
    if problem:
        raise PrivpipeError(f"{path} is refused: its member {member.name!r} {problem}. Use an archive that you trust.")
    return str(name)


def _binary_batch(content: bytes, where: str) -> Batch:
    """Records of one label byte and 3072 bytes of image."""
    if not content or len(content) % (1 + ROW):
        raise _invalid(where, f"has {len(content):,} bytes, not a multiple of {1 + ROW:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + ROW)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= CLASSES:
        raise _invalid(where, f"has the label {labels.max()}, not one of 0 to {CLASSES - 1}")
    return records[:, 1:], labels


def _binary_names(content: bytes, where: str) -> tuple[str, ...]:
    """One class name on each line; the official file ends in an empty one."""
    return _checked_names([line.strip() for line in content.split(b"\n") if line.strip()], where)


def _python_batch(content: bytes, where: str) -> Batch:
    values = _unpickle(content, where)
    data, labels = values.get("data"), values.get("labels")
    rows = data.value if isinstance(data, _Array) else None
    if rows is None or rows.shape[1] != ROW or len(rows) == 0:
        raise _invalid(where, f"has no 'data' array of uint8 with {ROW} columns")
    if not isinstance(labels, list) or not all(type(x) is int and 0 <= x < CLASSES for x in labels):
        raise _invalid(where, f"has no 'labels' list of integers from 0 to {CLASSES - 1}")
    if len(labels) != len(rows):
        raise _invalid(where, f"has {len(labels):,} labels for {len(rows):,} images")
    return rows, np.array(labels, np.int64)


def _python_names(content: bytes, where: str) -> tuple[str, ...]:
    return _checked_names(_unpickle(content, where).get("label_names"), where)


def _checked_names(listed: object, where: str) -> tuple[str, ...]:
    """The class names as strings, from the list of bytes or strings that the archive gives."""
    names: list[str] = []
    for name in listed if isinstance(listed, list) else []:
        try:
            text = name.decode("utf-8") if isinstance(name, bytes) else name
        except UnicodeDecodeError:
            text = None
        if isinstance(text, str) and text.isprintable():
            names.append(text)
    if not isinstance(listed, list) or len(listed) != CLASSES or len(set(names)) != CLASSES:
        raise _invalid(where, f"does not name {CLASSES} different classes")
    return tuple(names)


def _invalid(where: str, problem: str) -> PrivpipeError:
    return PrivpipeError(f"{where} {problem}. Use the CIFAR-10 archive as published, or one in the same layout.")


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).rstrip(".")


class _DType:
    """Stands for the numpy.dtype that the pickle asks for."""

    __slots__ = ("code",)

    def __init__(self, code: object):
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment: uint8 has none."""


class _Array:
    """Stands for the numpy.ndarray that the pickle fills; `value` is None until then."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: npt.NDArray[np.uint8] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran_order, content = state
        if not isinstance(dtype, _DType) or dtype.code not in ("u1", b"u1"):
            raise ValueError("an array is not of uint8")
        if not isinstance(content, bytes) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("an array is not made of bytes")
        if len(shape) != 2 or len(content) != math.prod(shape):
            raise ValueError(f"{len(content):,} bytes do not make the rows and columns that an array says it has")
        self.value = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


class _Callable:
    """What the pickle may call. An instance without attributes: a pickle can set those of a class or function."""

    __slots__ = ()


class _MakeArray(_Callable):
    __slots__ = ()

    def __call__(self, *_: object) -> _Array:
        return _Array()  # numpy, too, makes an empty array here and sets shape and content afterwards


class _MakeDType(_Callable):
    __slots__ = ()

    def __call__(self, code: object, *_: object) -> _DType:
        return _DType(code)


class _Encode(_Callable):
    """How Python 3 writes bytes in protocol 2."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise ValueError("bytes are not encoded as latin1")
        return text.encode("latin-1")


ALLOWED: dict[tuple[str, str], _Callable] = {
    ("numpy.core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy._core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy", "ndarray"): _Callable(),  # an argument of _reconstruct, never called
    ("numpy", "dtype"): _MakeDType(),
    ("_codecs", "encode"): _Encode(),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Callable:
        if (module, name) not in ALLOWED:
            raise PrivpipeError(f"asks for {module}.{name}")
        return ALLOWED[module, name]


def _unpickle(content: bytes, where: str) -> dict[str, Any]:
    """The dictionary in the pickle, of either Python, with its keys as strings."""
    try:
        check_opcodes(content)
        values = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except PrivpipeError as error:
        raise PrivpipeError(
            f"{where} is refused: the pickle {error}, which image data has no use for and could harm this machine. "
            "Use an archive that you trust."
        ) from error
    except Exception as error:  # a damaged pickle may fail in any way
        raise PrivpipeError(
            f"{where} cannot be unpickled: {_reason(error)}. The file is damaged or not CIFAR-10."
        ) from error
    if not isinstance(values, dict):
        raise _invalid(where, "is not a dictionary")
    return {
        k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in values.items() if isinstance(k, str | bytes)
    }
