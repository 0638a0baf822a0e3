"""The checksum by which the archive is known."""

import hashlib
import re
from pathlib import Path

from privpipe.errors import PrivpipeError


def checksum(path: Path) -> str:
    """The sha256 of the file's bytes in lower-case hexadecimal.

    Raises:
        PrivpipeError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PrivpipeError(f"cannot read {path}: {error.strerror or error}. Check the path and its rights.") from error


def parse_checksum(sha256: str) -> str:
    """`sha256` in lower case; PrivpipeError if it cannot be one."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise PrivpipeError(f"data.sha256 must be 64 hexadecimal digits, as `sha256sum FILE` prints; got {sha256!r}.")
    return sha256.lower()
