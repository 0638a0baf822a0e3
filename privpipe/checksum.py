"""Checksums of an HDF5 file, so that a bit that a disk, a cache or a copy flipped is noticed by whoever reads it.

Against accidents only: they are no signature, and whoever changes a file on purpose can make new ones. The owner's
privacy does not depend on them.

The first 512 bytes of a file are text that HDF5 skips (its user block), filled up with zeros:

    privpipe checked file
    bytes 153696
    images 2560+98304 101376+49152
    xxh3_64 0123456789abcdef

`bytes` is the length of the file, `images` the places (offset + length) that have digests of their own within the file
(`privpipe.store`), and the last line the XXH3 of this text up to that line and of all bytes after the first 512 but
those places. So every byte of the file has a checksum.

Why XXH3: reading a file from the cache of the operating system is so fast that a cryptographic digest would take longer
than the reading (`python -m benchmarks --only storage` measures what this one takes).
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

USER_BLOCK = 512
PIECE = 2**20  # bytes digested at a time, while they are in the processor's cache
BLOCK_BYTES, BLOCK_ROWS = 2**19, 64  # of images with one digest, at most
TEXT = re.compile(
    rb"(privpipe checked file\nbytes ([0-9]{1,19})\n"
    rb"images((?: [0-9]{1,19}\+[0-9]{1,19})*)\n)"
    rb"xxh3_64 ([0-9a-f]{16})\n\0*"
)
Array = NDArray[Any]
Extent = tuple[int, int]  # offset and length in the file


def block_rows(image_bytes: int) -> int:
    """How many images share a digest: the greatest power of two within `BLOCK_ROWS` and `BLOCK_BYTES`, at least 1."""
    rows = BLOCK_ROWS
    while rows > 1 and rows * image_bytes > BLOCK_BYTES:
        rows //= 2
    return rows


def digest(block: Array) -> int:
    """The XXH3 of a C-contiguous array's bytes, 64 bits."""
    return xxhash.xxh3_64_intdigest(block.data)


def read_into(descriptor: int, offset: int, target: Array) -> None:
    """Fill a C-contiguous array with the bytes of a file from `offset` on.

    Raises:
        OSError: the file cannot be read, or ends before.
    """
    view, done = target.reshape(-1).view(np.uint8).data, 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if not count:
            raise OSError(f"it ends at byte {offset + done}, within its content")
        done += count


def seal(path: str | Path, apart: Sequence[Extent] = ()) -> None:
    """Write the user block of a file that is otherwise complete.

    Args:
        apart: the places that have digests of their own.
    """
    with open(path, "r+b") as file:
        size, apart = os.fstat(file.fileno()).st_size, sorted(apart)
        places = "".join(f" {offset}+{length}" for offset, length in apart)
        text = f"privpipe checked file\nbytes {size}\nimages{places}\n".encode()
        text += f"xxh3_64 {_digest_rest(file.fileno(), size, apart, text)}\n".encode()
        file.write(text.ljust(USER_BLOCK, b"\0"))


def check(descriptor: int) -> list[Extent]:
    """Compare an open file with its user block; the places that have digests of their own are not read.

    Returns:
        Those places, in their order in the file.

    Raises:
        ValueError: the file has no such user block, is cut short, or differs; the message says which.
        OSError: it cannot be read.
    """
    block = os.pread(descriptor, USER_BLOCK, 0)
    match = TEXT.fullmatch(block)
    if block.startswith(b"\x89HDF") or not block.strip(b"\0"):
        raise ValueError(
            "it has no checksums, so it is of privpipe's format version 1, was written by another program, or lost "
            "its beginning"
        )
    if match is None:
        raise ValueError("its first 512 bytes are not those of a privpipe file, so it is another file, or they changed")
    text, length, places, expected = match.groups()
    size = os.fstat(descriptor).st_size
    if size != int(length):
        raise ValueError(f"it has {size:,} bytes and was written with {int(length):,}")
    apart = [(int(offset), int(count)) for offset, count in (place.split(b"+") for place in places.split())]
    if _digest_rest(descriptor, size, apart, text) != expected.decode():
        raise ValueError("a checksum differs: its header, its labels or its structure changed since it was written")
    return apart


def _digest_rest(descriptor: int, size: int, apart: Sequence[Extent], text: bytes) -> str:
    """The XXH3 of `text` and of the bytes from `USER_BLOCK` to `size` that lie in none of the places `apart`."""
    state, buffer, position = xxhash.xxh3_64(text), np.empty(PIECE, np.uint8), USER_BLOCK
    for offset, length in [*apart, (size, 0)]:
        if not position <= offset <= offset + length <= size:
            raise ValueError(f"it has no place for images of {length:,} bytes at {offset:,}")
        for start in range(position, offset, PIECE):
            piece = buffer[: offset - start]
            read_into(descriptor, start, piece)
            state.update(piece.data)
        position = offset + length
    return str(state.hexdigest())
