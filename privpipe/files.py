"""Writing files so that a killed or failing process never leaves half of one."""

import csv
import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from privpipe.errors import PrivpipeError

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds it is moved onto `path`.

    The temporary name is always `<name>.partial`, so that what a killed process left is overwritten by
    the next run. On any error it is removed and `path` stays as it was.

    Raises:
        PrivpipeError: the disk is full, or `path` cannot be written.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):  # where the folder itself cannot be used, the error above says so
            partial.unlink()


def write_error(path: Path, error: OSError) -> PrivpipeError:
    """The error to show the user when writing `path` failed with `error`."""
    if error.errno in FULL_DISK:
        return PrivpipeError(
            f"no space left while writing {path}; nothing was changed. Free some space and run the command again."
        )
    return PrivpipeError(f"cannot write {path}: {error.strerror or error}. Check the folder and its permissions.")


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, values: dict[str, Any]) -> None:
    """Write `values` to `path` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with one header line to `path`, atomically."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
