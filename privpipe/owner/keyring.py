"""Key files that people handle by hand: made once, never overwritten, refused where git or other users read them."""

import os
import stat
from pathlib import Path

from privpipe.data.places import refuse_files
from privpipe.errors import PrivpipeError
from privpipe.files import make_folder, write_error
from privpipe.owner import keyhome
from privpipe.owner.key import FINGERPRINT, Key, Reference, new_key, read_any, write_key


def create_key(path: str | Path, seed: int | None) -> Key:
    """Make a key and write it with mode 0600: a real one for None, a research key for a number.

    Raises:
        PrivpipeError: there is a file at `path`, git would take a real key that lies there, or it cannot be written.
    """
    key = new_key(seed)
    _write_new(path, key)
    return key


def _write_new(path: str | Path, key: Key) -> None:
    path = Path(path)
    if not key.research:
        refuse_files("the key", [path], published="a secret key")
    try:
        make_folder(path.parent, private=True)
        # An empty file takes the name: of two that try, one succeeds, on file systems without hard links too.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        if not os.path.lexists(path):
            raise write_error(path, error) from error
        raise PrivpipeError(
            f"{path} exists, and a key is never overwritten: it may be the only one that fits your images. "
            "Choose another name, or move the file away."
        ) from error
    try:
        write_key(path, key)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_guarded_key(path: str | Path, allow_readable: bool = False) -> Key:
    """Read a key file that nobody but its owner can read, or a reference to one (which anybody may read).

    Args:
        allow_readable: read it all the same (a file system without modes shows every file as readable).

    Raises:
        PrivpipeError: the file is missing, readable by group or others, or no sound key.
    """
    path = Path(path)
    _check_exists(path)
    stored = read_any(path)
    if isinstance(stored, Reference):
        if stored.seed is None and keyhome.find(stored.fingerprint) is not None:
            _check_guarded(keyhome.place(stored.fingerprint), allow_readable)
        return keyhome.read_key(path)
    _check_guarded(path, allow_readable)
    return stored


def _check_exists(path: Path) -> None:
    try:
        path.stat()
    except OSError as error:
        raise PrivpipeError(
            f"cannot read the key {path}: {error.strerror}. Pass the key of the training set, or make a new one with "
            f"`privpipe key new {path}`."
        ) from error


def _check_guarded(path: Path, allow_readable: bool) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & keyhome.READABLE_BY_OTHERS and not allow_readable:
        raise PrivpipeError(
            f"{path} is open to others on this machine (mode {mode:04o}); a key must be its owner's alone. "
            f"Run `chmod 600 {path}`, or pass --allow-readable-key where the file system knows no modes."
        )


def import_key(path: str | Path, allow_readable: bool = False) -> tuple[Key, Path]:
    """Copy a key file into the key home; the key and its place there.

    Raises:
        PrivpipeError: `path` is no key file with a secret, is readable by others, or holds a research key.
    """
    _check_exists(Path(path))
    if isinstance(read_any(path), Reference):
        raise PrivpipeError(
            f"{path} is a reference, which holds no secret. Import the key file itself: your backup, or the file in "
            "the key home of the machine that made it."
        )
    key = read_guarded_key(path, allow_readable)
    return key, keyhome.keep(key)


def export_key(which: str | Path, target: str | Path) -> Key:
    """Write a copy of a key, with its secret, to a new file of mode 0600: a backup, or for another machine.

    Args:
        which: a fingerprint of the key home, or the path of a key file or reference.

    Raises:
        PrivpipeError: there is no such key, there is a file at `target`, or git would take a real key that lies there.
    """
    fingerprint = FINGERPRINT.fullmatch(str(which)) is not None
    key = keyhome.find(str(which)) if fingerprint else read_guarded_key(which)
    if key is None:
        raise keyhome.missing(str(which), "it was asked for by its fingerprint")
    _write_new(target, key)
    return key
