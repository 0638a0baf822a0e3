"""The HDF5 file of a release of a whole set: what crosses the boundary in place of perturbed images.

It lies where perturbed images would, so that the same stages read it, and says of itself what a reader needs: the
method, the form of its numbers, its public settings, class names, and the images that a model fitted to it takes. It
holds no key and no seed; the numbers are data sets in the group `numbers`. Every byte has a
checksum (`privpipe.checksum`), and the same release gives the same bytes.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from privpipe.checksum import check
from privpipe.errors import PrivpipeError
from privpipe.header import MAX_CLASSES, damaged, read_format
from privpipe.store import new_hdf5

RELEASED, FORMAT_VERSION = "privpipe-released", 1
GROUP = "numbers"
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class About:
    """What a release says of itself.

    Args:
        method: its name.
        form: what its numbers are, see `privpipe.perturb.release.SetRelease.form`.
        settings: public ones, by name.
        class_names: name of label i at place i.
        shape: (H, W, C) of the images that a model fitted to it takes; they are uint8.
        queries: SHA-256 of the file of queries that were made with it (QUERIES), which stays at home and is salted.
        reading: how image files become such images (`privpipe.reading`); empty for the usual way.
    """

    method: str
    form: str
    settings: dict[str, float]
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    queries: str
    reading: str = ""


@dataclass(frozen=True)
class Released:
    """A release: what it says of itself, and its numbers by name."""

    about: About
    numbers: dict[str, NDArray[Any]]

    @property
    def digest(self) -> str:
        """SHA-256 of all that it holds, 64 hexadecimal digits."""
        state = hashlib.sha256(_as_json(self.about).encode())
        for name, values in sorted(self.numbers.items()):
            state.update(json.dumps([name, str(values.dtype), values.shape]).encode())
            state.update(np.ascontiguousarray(values).data)
        return state.hexdigest()


def save_released(path: str | Path, released: Released) -> None:
    """Write a release, atomically.

    Raises:
        PrivpipeError: the disk is full, or `path` cannot be written.
    """
    with new_hdf5(path) as (file, _):
        file.attrs["format"] = np.bytes_(RELEASED.encode())
        file.attrs["format_version"] = np.int64(FORMAT_VERSION)
        file.attrs["about"] = np.bytes_(_as_json(released.about).encode())
        group = file.create_group(GROUP, track_times=False)
        for name, values in sorted(released.numbers.items()):
            group.create_dataset(name, data=values, track_times=False)


def load_released(path: str | Path) -> Released:
    """Read and check a release.

    Raises:
        PrivpipeError: the file is missing, changed since it was written, or no release of this version.
    """
    path = Path(path)
    with _checked(path) as file:
        try:
            form = read_format(file)
            if form != RELEASED:
                raise PrivpipeError(
                    f"{path} must be a {RELEASED} file; its format is {form!r}. Pass the file that the stage names."
                )
            if int(file.attrs["format_version"]) != FORMAT_VERSION:
                raise PrivpipeError(
                    f"{path} has format version {file.attrs['format_version']}; this privpipe reads version "
                    f"{FORMAT_VERSION}. Make it again with this version, or install the one that wrote it."
                )
            return Released(
                _parse(bytes(file.attrs["about"])), {name: _numbers(file[GROUP], name) for name in sorted(file[GROUP])}
            )
        except (KeyError, TypeError, ValueError, OverflowError, OSError, RuntimeError) as error:
            raise damaged(path, str(error)) from error


def sha256_of(path: str | Path) -> str:
    """Of a file, 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_release(path: str | Path) -> bool:
    """Whether a file is a release of a whole set; False also for what is missing or damaged, as its reader will say."""
    try:
        with h5py.File(path, "r") as file:
            return read_format(file) == RELEASED
    except (KeyError, OSError, ValueError, RuntimeError):
        return False


def _checked(path: Path) -> h5py.File:
    """The open file, its checksums compared."""
    if not path.is_file():
        raise PrivpipeError(f"{path} is missing. Make it with `dvc repro`, or get it with `dvc pull`.")
    try:
        with path.open("rb", buffering=0) as raw:
            check(raw.fileno())
        return h5py.File(path, "r")
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error


def _as_json(about: About) -> str:
    return json.dumps(asdict(about), sort_keys=True)


def _parse(text: bytes) -> About:
    """What the text says; ValueError, KeyError or TypeError where it is none of ours."""
    fields = json.loads(text)
    shape, names = tuple(fields["shape"]), tuple(fields["class_names"])
    if len(shape) != 3 or any(type(side) is not int or side < 1 for side in shape):
        raise ValueError(f"its images have shape {shape}")
    if not 0 < len(names) <= MAX_CLASSES:
        raise ValueError(f"{len(names)} class names")
    settings = {str(name): float(value) for name, value in fields["settings"].items()}
    about = About(
        str(fields["method"]),
        str(fields["form"]),
        settings,
        names,
        shape,
        str(fields["queries"]),
        str(fields["reading"]),
    )
    if not all(map(math.isfinite, settings.values())) or json.loads(_as_json(about)) != fields:
        raise ValueError("its description is none that a release is saved with")
    return about


def _numbers(group: h5py.Group, name: str) -> NDArray[Any]:
    """A data set that lies in the file itself, completely; ValueError for others, and for NaN and infinite values."""
    data = group.get(name) if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.chunks or data.external or data.is_virtual:
        raise ValueError(f"{name} is not stored in the file itself")
    if data.dtype.kind not in "iuf" or data.id.get_storage_size() != data.size * data.dtype.itemsize:
        raise ValueError(f"{name} is not stored completely, or holds no numbers")
    values: NDArray[Any] = data[()]
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    return values
