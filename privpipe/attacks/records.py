"""The file of what the attacks brought: `reconstructions.h5`, from the adversary's stage to the scoring.

Every byte has a checksum, which the reader compares (`privpipe.checksum`).
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.base import LEVELS
from privpipe.checksum import check
from privpipe.errors import CACHE_REMEDY, PrivpipeError
from privpipe.store import new_hdf5

FORMAT, FORMAT_VERSION = "privpipe-reconstructions", 2
TIME_COLUMNS = ("level", "attack", "pairs", "stolen", "seconds")


@dataclass(frozen=True)
class Record:
    """One run of one attack.

    Args:
        level: L0, L1 or L2; L3 where the key itself was used.
        attack: its name.
        pairs: known pairs that it had, 0 below L2.
        stolen: perturbed images that it learned from.
        seconds: how long it took; None where it was not run, and in what was read from a file.
        confidence: see `privpipe.attacks.base.Outcome`.
        images: reconstructions of the targets, (T, H, W, C) uint8, or float32 in grey levels of 0..255; None where only
            the key was sought.
        key: see `privpipe.attacks.base.Outcome`.
        problem: why the attack could not be run; None where it was.
    """

    level: str
    attack: str
    pairs: int
    stolen: int
    seconds: float | None = None
    confidence: float | None = None
    images: NDArray[Any] | None = None
    key: NDArray[Any] | None = None
    problem: str | None = None


def save_records(path: str | Path, records: Sequence[Record], salt: str = "") -> None:
    """Write records, atomically and for the owner alone; images are rounded to 8 bits, as an adversary would keep them.

    The seconds stay out, so that the same attacks write the same bytes; see `time_rows`.

    Args:
        salt: see `privpipe.salt`; kept in the file and read by nobody.

    Raises:
        PrivpipeError: the disk is full, or `path` cannot be written.
    """
    with new_hdf5(path, private=True) as (file, _):
        file.attrs["format"], file.attrs["format_version"] = FORMAT, FORMAT_VERSION
        if salt:
            file.attrs["salt"] = salt
        for number, record in enumerate(records):
            _add(file.create_group(f"{number:04d}"), record)


def _add(group: h5py.Group, record: Record) -> None:
    for name in ("level", "attack", "pairs", "stolen", "confidence", "problem"):
        value = getattr(record, name)
        if value is not None:
            group.attrs[name] = value
    if record.images is not None:
        group["images"] = as_images(record.images)
    if record.key is not None:
        group["key"] = record.key


def load_records(path: str | Path) -> list[Record]:
    """Read records.

    Raises:
        PrivpipeError: the file is missing, damaged (changed since it was written), or of another format or version.
    """
    path = Path(path)
    if not path.is_file():
        raise PrivpipeError(f"{path} is missing. Make it with `dvc repro attack`.")
    try:
        with path.open("rb", buffering=0) as raw:
            check(raw.fileno())
        with closing(h5py.File(path, "r")) as file:
            if (file.attrs["format"], int(file.attrs["format_version"])) != (FORMAT, FORMAT_VERSION):
                raise ValueError("it is of another format or version")
            return [_record(file[name]) for name in sorted(file)]
    except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise PrivpipeError(
            f"{path} is damaged: {error}. Make it again with `dvc repro attack`. {CACHE_REMEDY}"
        ) from error


def _record(group: h5py.Group) -> Record:
    attrs = group.attrs
    return Record(
        str(attrs["level"]),
        str(attrs["attack"]),
        int(attrs["pairs"]),
        int(attrs["stolen"]),
        None,
        float(attrs["confidence"]) if "confidence" in attrs else None,
        group["images"][:] if "images" in group else None,
        group["key"][:] if "key" in group else None,
        str(attrs["problem"]) if "problem" in attrs else None,
    )


def time_rows(records: Sequence[Record]) -> list[tuple[str, str, int, int, float]]:
    """Rows of `TIME_COLUMNS`: wall-clock seconds of every attack that was run, in the order of the records."""
    return [(r.level, r.attack, r.pairs, r.stolen, round(r.seconds, 4)) for r in records if r.seconds is not None]


def time_metrics(records: Sequence[Record]) -> dict[str, float]:
    """Wall-clock seconds of all attacks together (`seconds`), and of those of each level (`l0_seconds` and so on)."""
    rows = time_rows(records)
    spent = {f"{level.lower()}_seconds": sum(row[-1] for row in rows if row[0] == level) for level in LEVELS}
    return {name: round(value, 2) for name, value in {"seconds": sum(row[-1] for row in rows), **spent}.items()}


def as_images(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Levels of 0..255 rounded and clipped to 8 bits; NaN becomes black."""
    if images.dtype == np.uint8:
        return images
    # Of NaN and a number, fmax takes the number.
    return np.asarray(np.rint(np.fmin(np.fmax(images, 0), 255)), np.uint8)
