"""Writing files so that a killed, failing or second process never leaves or takes half of one."""

import csv
import errno
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from privpipe.errors import WriteError

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<pid>[0-9]{1,9})-[0-9a-f]{8}\.partial", re.DOTALL)
SMALL_OUTPUT = 256 << 10  # space that is asked for a table, a figure or a page


@contextmanager
def atomic_path(path: str | Path, *, private: bool = False) -> Iterator[Path]:
    """Yield the path of a new empty file beside `path`; when the block succeeds it is moved onto `path`.

    The name, `.<name>.<pid>-<random>.partial`, is of this process alone, so that two runs at once do not take each
    other's file, and the file is made here: a link that somebody put there is never followed. What killed processes
    left of the same output is removed first; on any error this one's is removed too and `path` stays as it was.

    Args:
        private: readable by nobody else, and so are the folders that are made for it.

    Raises:
        WriteError: the disk is full, `path` cannot be written, or nothing was written.
    """
    path = Path(path)
    partial = temporary(path)
    try:
        make_folder(path.parent, private)
        remove_leftovers(path)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666))
        yield partial
        with partial.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise WriteError(f"cannot write {path}: it would be empty. Nothing was changed.")
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):  # where the folder itself cannot be used, the error above says so
            partial.unlink()


def temporary(path: Path) -> Path:
    """A name beside `path` that no other process uses, and by which what a killed one left is known."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def make_folder(folder: Path, private: bool = False) -> None:
    """Make a folder and those above it, with mode 0700 if `private`; one that is there stays as it is."""
    if private and not folder.exists():
        make_folder(folder.parent)
        with suppress(FileExistsError):  # another process was faster
            folder.mkdir(mode=0o700)
    folder.mkdir(parents=True, exist_ok=True)


def hide_folder(folder: str | Path) -> None:
    """Make a folder with mode 0700, or take the rights of all others away from one that is there.

    Files of raw images lie in it with the mode that DVC gives them, readable by all.

    Raises:
        WriteError: the folder cannot be made, or is somebody else's.
    """
    folder = Path(folder)
    try:
        make_folder(folder, private=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise write_error(folder, error) from error


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes of this machine left of the output `path`. Links are removed, never followed."""
    for leftover in leftovers(path.parent):
        if leftover.name.lstrip(".").startswith(f"{path.name.lstrip('.')}.") and writer_is_dead(leftover):
            with suppress(OSError):  # another run was faster, or the file is somebody else's
                leftover.unlink()


def leftovers(folder: Path) -> list[Path]:
    """Temporary files of `atomic_path` in a folder, of running processes too; [] where it cannot be listed."""
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if PARTIAL.fullmatch(entry.name)]
    except OSError:
        return []


def writer_is_dead(leftover: Path) -> bool:
    """Whether the process that a temporary file is named after is over: there is none of its number, or a later one."""
    import psutil  # slow to import, and leftovers are rare

    match = PARTIAL.fullmatch(leftover.name)
    if match is None:
        return False
    try:
        # Numbers are used again. A process that began after the file was last written is not its writer.
        return bool(psutil.Process(int(match["pid"])).create_time() > leftover.lstat().st_mtime + 1)
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OSError):
        return False


def need_space(path: str | Path, size: int) -> None:
    """Ask whether the disk of `path` has space for `size` bytes, before the work whose result would be lost.

    An old file at `path` counts for nothing: it stays until the new one is complete.

    Raises:
        WriteError: there is less.
    """
    folder = Path(path).absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise write_error(Path(path), error) from error
    if free < size:
        raise WriteError(
            f"{path} needs {size:,} bytes, and its disk has {free:,} free; nothing was begun. Free some space "
            "and run the command again."
        )


def write_error(path: Path, error: OSError) -> WriteError:
    """The error to show the user when writing `path` failed with `error`."""
    if error.errno in FULL_DISK:
        return WriteError(
            f"no space left while writing {path}; nothing was changed. Free some space and run the command again."
        )
    return WriteError(f"cannot write {path}: {error.strerror or error}. Check the folder and its permissions.")


def write_or_keep(stage: str, outputs: Mapping[str, Callable[[str], None]]) -> None:
    """Write the outputs of a long stage; where the disk has become full, keep them elsewhere instead.

    Args:
        stage: its name in `dvc.yaml`.
        outputs: a function for each path that writes this output to the path that it is given.

    Raises:
        WriteError: an output cannot be written. The message names the folder where all of them are kept, readable by
            this user alone, and the commands that put them into their places.
    """
    try:
        for path, write in outputs.items():
            write(path)
    except WriteError as error:
        kept = _keep(stage, outputs)
        if kept is None:
            raise WriteError(f"{error} The result could not be kept in {tempfile.gettempdir()} either.") from error
        # Of paths as the stage was given them, so that the commands hold in the folder where it ran.
        folders = " ".join(dict.fromkeys(str(Path(path).parent) for path in outputs))
        moves = "\n".join(f"  mv {kept / _kept_name(path)} {path}" for path in outputs)
        raise WriteError(
            f"{error}\nThe result is not lost: it is kept in {kept}. Once there is space, instead of running the "
            f"stage again:\n  mkdir -p {folders}\n{moves}\n  rmdir {kept}\n  dvc commit --force {stage}\n  dvc repro"
        ) from error


def _keep(stage: str, outputs: Mapping[str, Callable[[str], None]]) -> Path | None:
    """Write outputs to a new folder (mode 0700) for temporary files; None where that is not possible either."""
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"privpipe-{stage}-"))
        for path, write in outputs.items():
            write(str(folder / _kept_name(path)))
            (folder / _kept_name(path)).chmod(0o600)
    except (OSError, WriteError):
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return None
    return folder


def _kept_name(path: str) -> str:
    """A name of its own in one folder: outputs in different folders may have the same."""
    return "-".join(part for part in Path(path).parts if part not in ("/", ".."))


def write_bytes(path: str | Path, content: bytes, *, private: bool = False) -> None:
    """Write `content` to `path`, atomically."""
    with atomic_path(path, private=private) as partial:
        partial.write_bytes(content)


def write_text(path: str | Path, text: str, *, private: bool = False) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    write_bytes(path, text.encode(), private=private)


def write_json(path: str | Path, values: dict[str, Any]) -> None:
    """Write `values` to `path` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json_text(values))


def json_text(values: dict[str, Any]) -> str:
    """What `write_json` writes."""
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with one header line to `path`, atomically."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
