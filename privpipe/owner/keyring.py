"""Key files that people handle by hand: made once, never overwritten, refused when others can read them."""

import os
import stat
from pathlib import Path

from privpipe.errors import PrivpipeError
from privpipe.owner.key import Key, new_key, read_key, write_key

READABLE_BY_OTHERS = 0o077


def create_key(path: str | Path, seed: int | None) -> Key:
    """Make a key and write it with mode 0600: a real one for None, a research key for a number.

    Raises:
        PrivpipeError: there is a file at `path`, or it cannot be written.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise PrivpipeError(
            f"{path} exists, and a key is never overwritten: it may be the only one that fits your images. "
            "Choose another name, or move the file away."
        )
    key = new_key(seed)
    write_key(path, key)
    return key


def read_guarded_key(path: str | Path, allow_readable: bool = False) -> Key:
    """Read a key file that nobody but its owner can read.

    Args:
        allow_readable: read it all the same (a file system without modes shows every file as readable).

    Raises:
        PrivpipeError: the file is missing, readable by group or others, or no sound key.
    """
    path = Path(path)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise PrivpipeError(
            f"cannot read the key {path}: {error.strerror}. Pass the key of the training set, or make a new one with "
            f"`privpipe key new {path}`."
        ) from error
    if mode & READABLE_BY_OTHERS and not allow_readable:
        raise PrivpipeError(
            f"{path} is open to others on this machine (mode {mode:04o}); a key must be its owner's alone. "
            f"Run `chmod 600 {path}`, or pass --allow-readable-key where the file system knows no modes."
        )
    return read_key(path)
