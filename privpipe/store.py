"""The HDF5 file of images and labels: what crosses the boundary, and what must not.

Groups `train`, `val`, `test`, each with `images` (N, H, W, C) and `labels` (N,) int64; row i of the one is
row i of the other. The root attributes are the header. The same inputs give the same bytes: no dates, fixed
order, contiguous data sets that lie in the file as they lie in memory.

Every byte has a checksum, which every reader compares (`privpipe.checksum`): `digests` (B,) uint64 of a split holds the
XXH3 of each block of consecutive images, `block_rows` to a block; the first 512 bytes hold one of all else. They
are there against accidents, and no signature: a cloud that changes a file can make new ones.

Five kinds share the layout and are told apart by `format`, so that raw images cannot be taken for perturbed
ones: `privpipe-images` never leaves the owner, `privpipe-perturbed` is made to. `privpipe-public` holds the public
images of an adversary, `privpipe-leaked` the originals that an adversary is assumed to know; both have them in
`train`, and nothing in the other splits. `privpipe-queries` holds the images of `val` and `test` in the form that a
model takes which was fitted to a release of the whole set (`privpipe.released`); like raw images it stays at home.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from privpipe.checksum import PIECE, USER_BLOCK, Extent, block_rows, check, digest, read_into, seal
from privpipe.errors import PrivpipeError
from privpipe.files import atomic_path, need_space, write_error
from privpipe.header import (
    FORMAT_VERSION,
    LEAKED,
    MAX_CLASSES,
    PERTURBED,
    PUBLIC,
    QUERIES,
    RAW,
    SPLITS,
    Header,
    damaged,
    read_header,
    write_header,
)

# What a file says of itself is `privpipe.header`'s; whoever reads or writes one finds it here.
__all__ = [
    "FORMAT_VERSION",
    "LEAKED",
    "MAX_CLASSES",
    "PERTURBED",
    "PUBLIC",
    "QUERIES",
    "RAW",
    "SPLITS",
    "Header",
    "Store",
    "Writer",
]
__all__ += ["create", "new_hdf5", "open_store"]


METADATA_BYTES = 16 * 2**10  # of a file, at most: what is in it besides images, labels and class names
CHUNK_BYTES = 16 * 2**20  # of images handled at once: memory stays bounded whatever the number of images
POSITIVE, NEGATIVE = 0x7C00, 0xFC00  # the infinities of float16
CHECKED_VALUES = 2**17  # float16 values at a time, so that they stay in the cache
Array = NDArray[Any]


class Writer:
    """An open file to fill; made by `create`."""

    def __init__(self, file: h5py.File, header: Header, counts: Mapping[str, int]):
        self.file, self.dtype, self.shape = file, header.dtype, header.shape
        self.counts = {split: counts[split] for split in SPLITS}
        self.rows = block_rows(header.image_bytes)
        self.digests = {split: np.zeros(-(-n // self.rows), np.uint64) for split, n in self.counts.items()}
        self.pending = {split: np.ones(len(blocks), np.bool_) for split, blocks in self.digests.items()}
        write_header(file, header)
        for split, n in self.counts.items():
            group = file.create_group(split, track_times=False)
            group.create_dataset("images", (n, *header.shape), header.dtype, track_times=False)
            group.create_dataset("labels", (n,), np.int64, track_times=False)
            group.create_dataset("digests", self.digests[split].shape, np.uint64, track_times=False)

    def write(self, split: str, start: int, images: Array, labels: NDArray[np.int64]) -> None:
        """Write rows `start` and on of a split: images (n, H, W, C) and labels (n,)."""
        group, stop = self.file[split], start + len(images)
        images = np.ascontiguousarray(images, self.dtype)
        group["images"][start:stop] = images
        group["labels"][start:stop] = labels
        for first, last in _blocks(start, stop, self.rows, self.counts[split]):
            whole = start <= first and last <= stop
            self.pending[split][first // self.rows] = not whole
            if whole:
                self.digests[split][first // self.rows] = digest(images[first - start : last - start])

    def finish(self) -> list[Extent]:
        """Write the digests, those of blocks that were written in parts by reading them again; where the images are."""
        places = []
        for split, digests in self.digests.items():
            images = self.file[split]["images"]
            if not images.id.get_storage_size():
                continue
            for block in np.flatnonzero(self.pending[split]):
                digests[block] = digest(images[block * self.rows : (block + 1) * self.rows])
            self.file[split]["digests"][:] = digests
            places.append((images.id.get_offset(), images.id.get_storage_size()))
        return places


@contextmanager
def create(path: str | Path, header: Header, counts: Mapping[str, int]) -> Iterator[Writer]:
    """Create a file for `counts[split]` images per split; it appears under `path` when the block succeeds.

    All kinds but perturbed images are readable by their owner alone.

    Raises:
        PrivpipeError: the disk has not the space, which is asked first; it is full, or `path` cannot be written.
    """
    row = math.prod(header.shape) * np.dtype(header.dtype).itemsize + np.dtype(np.int64).itemsize
    names = sum(len(name.encode()) for name in header.class_names)
    need_space(path, row * sum(counts[split] for split in SPLITS) + names + METADATA_BYTES)
    with new_hdf5(path, private=header.kind != PERTURBED) as (file, apart):
        writer = Writer(file, header, counts)
        yield writer
        apart += writer.finish()


@contextmanager
def new_hdf5(path: str | Path, *, private: bool = False) -> Iterator[tuple[h5py.File, list[Extent]]]:
    """Create an HDF5 file with checksums, atomically; the same content gives the same bytes.

    Args:
        private: see `privpipe.files.atomic_path`.

    Yields:
        The file, and a list to be filled with the places in it that have digests of their own.

    Raises:
        PrivpipeError: the disk is full, or `path` cannot be written.
    """
    with atomic_path(path, private=private) as partial:
        try:
            with _new_file(partial) as file:
                apart: list[Extent] = []
                yield file, apart
            seal(partial, apart)
        except (OSError, RuntimeError) as error:
            # h5py reports a failed write as OSError, a failed close as RuntimeError.
            raise write_error(Path(path), _as_os_error(error)) from error


def _new_file(path: Path) -> h5py.File:
    # A fixed library version and no modification times: the same inputs give the same bytes.
    root = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    root.set_obj_track_times(False)
    root.set_userblock(USER_BLOCK)
    root.set_attr_phase_change(32, 0)  # the attributes stand in the header; from 9 on HDF5 would make an index of them
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    # Unbuffered, so that a full disk fails in `write`: a buffer that fails when its data set is closed crashes HDF5.
    access.set_sieve_buf_size(0)
    return h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, root, access))


class Store:
    """An open file to read; made by `open_store`, which has checked it."""

    def __init__(self, file: h5py.File, descriptor: int, path: Path, header: Header):
        self.file, self.descriptor, self.path, self.header = file, descriptor, path, header
        self.counts = {split: len(file[split]["labels"]) for split in SPLITS}
        self.rows_of_a_block = block_rows(header.image_bytes)
        self.digests: dict[str, NDArray[np.uint64]] = {split: file[split]["digests"][:] for split in SPLITS}
        self.offsets = {split: file[split]["images"].id.get_offset() for split in SPLITS}

    def labels(self, split: str, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        """Labels `start` .. `stop - 1` of a split, int64 (n,); all of them unless told otherwise.

        Raises:
            PrivpipeError: a label is not the number of a class.
        """
        labels: NDArray[np.int64] = self.file[split]["labels"][start:stop]
        classes = len(self.header.class_names)
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise damaged(self.path, f"{split}/labels has values outside 0..{classes - 1}")
        return labels

    def images(self, split: str) -> Array:
        """All images of a split, (N, H, W, C), straight from the file into one array."""
        images = np.empty((self.counts[split], *self.header.shape), self.header.dtype)
        for start, stop in self.spans(split):
            self._read(split, start, images[start:stop])
        return images

    def rows(self, split: str, start: int, stop: int) -> Array:
        """Images `start` .. `stop - 1` of a split.

        Raises:
            PrivpipeError: the file is damaged, or a value is not finite.
        """
        stop = min(stop, self.counts[split])
        images = np.empty((max(0, stop - start), *self.header.shape), self.header.dtype)
        if len(images):
            self._read(split, start, images)
        return images

    def _read(self, split: str, start: int, images: Array) -> None:
        """Fill `images` (n, H, W, C) from row `start` on; n is 1 at least.

        In pieces that fit into the processor's cache, where their blocks are compared with their digests at once; a
        block that is asked for in part is read whole.
        """
        stop, rows, size = start + len(images), self.rows_of_a_block, self.header.image_bytes
        end = min(stop + -stop % rows, self.counts[split])
        step = rows * max(1, PIECE // (rows * size))
        for first in range(start - start % rows, end, step):
            last = min(first + step, end)
            low, high = max(first, start), min(last, stop)
            wanted = images[low - start : high - start]
            whole = high - low == last - first
            piece = wanted if whole else np.empty((last - first, *images.shape[1:]), images.dtype)
            try:
                read_into(self.descriptor, self.offsets[split] + first * size, piece)
            except OSError as error:
                raise damaged(self.path, str(error)) from error
            self._compare(split, first, piece)
            if not whole:
                wanted[:] = piece[low - first : high - first]
            if images.dtype == np.float16 and not _finite(wanted):
                where = f"among rows {start}..{stop - 1}"
                raise damaged(self.path, f"{split}/images has NaN or infinite values {where}")

    def _compare(self, split: str, first: int, piece: Array) -> None:
        """Refuse images (n, H, W, C), whole blocks from row `first` on, that have other digests than were written."""
        rows = self.rows_of_a_block
        blocks = [piece[row : row + rows] for row in range(0, len(piece), rows)]
        expected = self.digests[split][first // rows :][: len(blocks)].tolist()
        for number, (block, one) in enumerate(zip(blocks, expected, strict=True)):
            if not _intact(block, one):
                low = first + number * rows
                where = f"among rows {low}..{low + len(block) - 1}"
                raise damaged(self.path, f"{split}/images changed since they were written, {where}")

    def spans(self, split: str) -> Iterator[tuple[int, int]]:
        """Ranges of rows that cover a split, each of about `CHUNK_BYTES`, and of whole blocks where one fits in."""
        step, count = max(1, CHUNK_BYTES // self.header.image_bytes), self.counts[split]
        if step > self.rows_of_a_block:
            step -= step % self.rows_of_a_block
        for start in range(0, count, step):
            yield start, min(start + step, count)


@contextmanager
def open_store(path: str | Path, kind: str) -> Iterator[Store]:
    """Open and check a file of images.

    Args:
        kind: what is expected, RAW, PERTURBED, PUBLIC, LEAKED or QUERIES.

    Raises:
        PrivpipeError: the file is missing, has no checksums, changed since it was written, is of another format,
            version or kind, or its content does not fit its header.
    """
    path = Path(path)
    if not path.is_file():
        raise PrivpipeError(f"{path} is missing. Make it with `dvc repro`, or get it with `dvc pull`.")
    with path.open("rb", buffering=0) as raw:
        try:
            places = check(raw.fileno())
            file = h5py.File(path, "r")
        except (OSError, ValueError) as error:
            raise damaged(path, str(error)) from error
        with file:
            header = read_header(file, path, kind)
            if places != _image_places(file):
                raise damaged(path, "its checksums are not those of its images")
            yield Store(file, raw.fileno(), path, header)


def _image_places(file: h5py.File) -> list[Extent]:
    """Where the images of a checked file lie in it, in the order of their places."""
    images = [file[split]["images"].id for split in SPLITS]
    return sorted((one.get_offset(), one.get_storage_size()) for one in images if one.get_storage_size())


def _blocks(start: int, stop: int, rows: int, count: int) -> Iterator[tuple[int, int]]:
    """The blocks of `rows` rows, the last shorter, that have some of the rows `start` .. `stop - 1` of `count`."""
    for first in range(start - start % rows, stop, rows):
        yield first, min(first + rows, count)


def _intact(block: Array, expected: int) -> bool:
    """Whether a block has the digest with which it was written."""
    return digest(block) == expected


def _finite(values: NDArray[np.float16]) -> bool:
    """Whether no value is NaN or infinite: those have all bits of the exponent set. Ten times as fast as isfinite.

    As whole numbers, positive ones are the highest of those with a sign, and negative ones of those without.
    """
    signed, unsigned = (values.reshape(-1).view(kind) for kind in (np.int16, np.uint16))
    pieces = (slice(first, first + CHECKED_VALUES) for first in range(0, len(signed), CHECKED_VALUES))
    return all(signed[piece].max() < POSITIVE and unsigned[piece].max() < NEGATIVE for piece in pieces)


def _as_os_error(error: OSError | RuntimeError) -> OSError:
    """HDF5 names the errno only within its message; find it, so that a full disk can be told from others."""
    if isinstance(error, OSError) and error.errno:
        return error
    match = re.search(r"errno = (\d+)", str(error))
    return OSError(int(match.group(1)) if match else 0, str(error))
