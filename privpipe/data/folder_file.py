"""The images of a folder in one HDF5 file.

index = scan(Path("images"))
write_folder("images.h5", index, split_folder(index, None, 1000, None, rng), image_size=64)
"""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from privpipe.data.audit import Audit
from privpipe.data.folder import FolderIndex
from privpipe.data.image_files import read_image, sample_values
from privpipe.data.sample import Sample
from privpipe.data.split import Rows
from privpipe.errors import PrivpipeError
from privpipe.files import atomic_path, temporary
from privpipe.reading import PLAIN, Reading
from privpipe.store import CHUNK_BYTES, PUBLIC, RAW, SPLITS, Header, Writer, create, open_store

logger = logging.getLogger(__name__)

MAX_CHUNK = 1024  # images read at once
MAX_LISTED = 20  # unreadable images named in an error


def write_folder(
    path: str | Path,
    index: FolderIndex,
    rows: Mapping[str, Rows],
    image_size: int,
    *,
    reading: Reading = PLAIN,
    skip: bool = False,
    threads: int | None = None,
    kind: str = RAW,
    salt: str = "",
    audit: Audit | None = None,
) -> None:
    """Read the chosen images (see `read_image`) into one HDF5 file (see `privpipe.store`), with a progress bar.

    The bytes depend on the images, their names and the rows only. Memory does not grow with their number.

    Args:
        rows: of each split; one that is not named stays empty.
        reading: see `privpipe.reading`; with the limits of `measure_limits` where its range is that of a set.
        skip: leave out images that cannot be read, with a warning for each, instead of refusing all.
        threads: images read at a time; None for one per processor.
        kind: of the file.
        salt: see `privpipe.salt`.
        audit: looks for duplicates and takes note of what is left out.

    Raises:
        PrivpipeError: images cannot be read (the message lists them), none are left of a class or a split,
            there are duplicates and the audit's policy is to stop, the disk is full, or `path` cannot be written.
    """
    shape, white = (image_size, image_size, reading.count), (0.0, 255.0)
    about = reading.describe()
    header = Header(kind, "none", 1, "dataset", index.class_names, white, shape, "uint8", salt=salt, reading=about)
    asked = {split: rows.get(split, np.empty(0, np.int64)) for split in SPLITS}
    # Room for every image cannot be taken back; where some are left out, the others are copied to a smaller file.
    spacious = temporary(Path(path))
    try:
        with create(spacious, header, {name: len(asked[name]) for name in SPLITS}) as writer:
            auditor = _Auditor(audit or Audit("ignore"), kind)
            failures = _read_all(writer, index, asked, reading, threads or os.cpu_count() or 1, auditor)
            if failures and not skip:
                raise PrivpipeError(_list(failures, sum(map(len, asked.values()))))
            failures += auditor.duplicates(index.class_names)
        if failures:
            good = _without(failures, index, asked, every_class=kind == RAW)
            with create(path, header, {name: len(good[name]) for name in SPLITS}) as writer:
                _copy(spacious, writer, good, kind)
        else:
            with atomic_path(path, private=True) as partial:
                spacious.replace(partial)
    finally:
        spacious.unlink(missing_ok=True)


def measure_limits(
    index: FolderIndex, rows: Rows, image_size: int, reading: Reading, threads: int | None = None
) -> Reading:
    """The reading with black and white measured over these rows, where its range is that of the set.

    Percentiles of values that are evenly spaced over each image (see `Sample`), from the centre squares. Images that
    cannot be read do not count: `write_folder` names them.

    Raises:
        PrivpipeError: not one image can be read, or they have different numbers of channels.
    """
    if reading.range != "set":
        return reading
    sample = Sample(len(rows), reading.count)

    def values(row: int) -> NDArray[np.float32] | str:
        try:
            return sample_values(index.paths[row], image_size, reading, sample)
        except PrivpipeError as error:
            return str(error)

    problem = ""
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for part in tqdm(pool.map(values, rows), total=len(rows), desc="measure range", unit="img", disable=None):
            if isinstance(part, str):
                problem = part
            else:
                sample.add(part)
    if not sample.parts:
        raise PrivpipeError(f"not one image can be read to measure the range of the set, such as {problem}")
    return reading.measured(*sample.limits(reading.saturated, reading.common))


@dataclass(frozen=True)
class _Failure:
    """An image that cannot be read: its place in a split, and `<path>: <reason>`."""

    split: str
    place: int
    message: str


@dataclass(frozen=True)
class _Auditor:
    """An audit of one file; the images of a public file are one set, whatever split they stand in."""

    audit: Audit
    kind: str

    def see(
        self,
        split: str,
        start: int,
        images: NDArray[np.uint8],
        paths: list[Path],
        labels: Rows,
        failures: list[_Failure],
    ) -> None:
        """Take note of images (n, H, W, C) from place `start` on, but for those that could not be read."""
        new = [failure for failure in failures if failure.split == split and failure.place >= start]
        self.audit.unreadable += [failure.message for failure in new]
        bad = [failure.place - start for failure in new]
        good = np.delete(np.arange(len(images)), bad)
        name = "public" if self.kind == PUBLIC else split
        if len(good):
            chosen = images if not bad else images[good]
            # Of public images no class counts: two of them that are alike are no contradiction.
            classes = labels[good] if name != "public" else np.zeros(len(good), np.int64)
            self.audit.see(name, start + good, [paths[i] for i in good], classes, chosen)

    def duplicates(self, class_names: Sequence[str]) -> list[_Failure]:
        """The images that must be dropped."""
        drop = self.audit.compare(class_names)
        return [_Failure("train" if name == "public" else name, place, reason) for name, place, reason in drop]


def _read_all(
    writer: Writer, index: FolderIndex, rows: dict[str, Rows], reading: Reading, threads: int, auditor: _Auditor
) -> list[_Failure]:
    """Read and write every row; an unreadable image leaves any pixels in its place."""
    failures: list[_Failure] = []
    total, shape = sum(map(len, rows.values())), writer.shape
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=total, desc="read images", unit="img", disable=None) as bar,
    ):
        for split, start, chosen in _chunks(rows, math.prod(shape)):
            images = np.zeros((len(chosen), *shape), np.uint8)
            paths = [index.paths[row] for row in chosen]
            # Pillow decodes without the interpreter's lock, so threads do run side by side.
            for place, problem in enumerate(pool.map(_read_into, paths, repeat(reading), images)):
                if problem is not None:
                    failures.append(_Failure(split, start + place, problem))
            writer.write(split, start, images, index.labels[chosen])
            auditor.see(split, start, images, paths, index.labels[chosen], failures)
            bar.update(len(chosen))
    return failures


def _chunks(rows: dict[str, Rows], image_bytes: int) -> Iterator[tuple[str, int, Rows]]:
    """Split, first place and rows of pieces that fit into memory."""
    step = max(1, min(MAX_CHUNK, CHUNK_BYTES // image_bytes))
    for split in SPLITS:
        for start in range(0, len(rows[split]), step):
            yield split, start, rows[split][start : start + step]


def _read_into(path: Path, reading: Reading, target: NDArray[np.uint8]) -> str | None:
    """Read an image into `target` (H, W, 3); what is wrong with it, or None."""
    try:
        target[:] = read_image(path, len(target), reading)
    except PrivpipeError as error:
        return str(error)
    return None


def _list(failures: list[_Failure], total: int) -> str:
    """The message for images that cannot be read: all of them at once, as far as one can read them.

    Where every image of a set fails for one reason, that is a matter of the settings, and one of them says it.
    """
    reasons = {failure.message.partition(": ")[2] for failure in failures}
    if len(failures) == total > 1 and len(reasons) == 1:
        first = min(failure.message for failure in failures)
        return f"not one image can be read, all for the same reason, and nothing was written:\n  {first}"
    lines = [f"  {failure.message}" for failure in sorted(failures, key=lambda failure: failure.message)[:MAX_LISTED]]
    if len(failures) > MAX_LISTED:
        lines.append(f"  and {len(failures) - MAX_LISTED:,} more")
    return "\n".join(
        [
            f"{len(failures):,} of {total:,} images cannot be read, and nothing was written:",
            *lines,
            "Repair or remove them, or set data.on_error=skip to leave them out.",
        ]
    )


def _without(failures: list[_Failure], index: FolderIndex, rows: dict[str, Rows], every_class: bool) -> dict[str, Rows]:
    """The places in each split that are left without the failures, which are listed as warnings.

    Args:
        every_class: refuse where nothing is left of a split or of a class to train with.
    """
    for failure in sorted(failures, key=lambda failure: failure.message):
        logger.warning("left out: %s", failure.message)
    logger.warning("%d of %d images were left out", len(failures), sum(map(len, rows.values())))
    bad = {split: [failure.place for failure in failures if failure.split == split] for split in SPLITS}
    good = {split: np.delete(np.arange(len(rows[split])), bad[split]) for split in SPLITS}
    if not every_class:
        return good
    for split in SPLITS:
        if len(rows[split]) and not len(good[split]):
            raise PrivpipeError(f"not one image of the {split} set can be read. See the reasons above.")
    before = set(index.labels[rows["train"]].tolist())
    lost = before - set(index.labels[rows["train"][good["train"]]].tolist())
    if lost:
        names = ", ".join(repr(index.class_names[label]) for label in sorted(lost))
        raise PrivpipeError(f"not one training image of the class {names} can be read. See the reasons above.")
    return good


def _copy(source: Path, writer: Writer, places: dict[str, Rows], kind: str) -> None:
    """Copy the rows `places` of each split."""
    with open_store(source, kind) as store:
        for split in SPLITS:
            labels, done = store.labels(split), 0
            for start, stop in store.spans(split):
                chosen = places[split][(places[split] >= start) & (places[split] < stop)]
                writer.write(split, done, store.rows(split, start, stop)[chosen - start], labels[chosen])
                done += len(chosen)
