"""Salts for files that hold raw images or show them: what DVC publishes of such a file must confirm no guess of it.

DVC writes the MD5 and the size of every output into `dvc.lock`, which git publishes. Whoever guesses the content of a
file compares its digest, and the size of a compressed image nearly tells it too. So with a real key every such
file carries a salt of 128 bits that only the owner knows, and files with compressed images, and those that name
files, are padded to a round size. With a research key, which anybody can make again, a salt would hide nothing: it
is empty, and files stay as they are.
"""

import hashlib
import struct
import zlib
from pathlib import Path

from privpipe.store import open_store

SALT_DIGITS = 32
ROUND = 64 * 1024  # bytes
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
PNG_CHUNK = 12  # bytes around the content of a chunk: length, type, checksum


def derived_salt(salt: str, what: str) -> str:
    """The salt of a file that is made of a salted one, whose own salt it does not tell; empty stays empty.

    Args:
        what: names the file, so that no two files share a salt.
    """
    return hashlib.sha256(f"privpipe salt {what} {salt}".encode()).hexdigest()[:SALT_DIGITS] if salt else ""


def salt_from(path: str | Path, kind: str, what: str) -> str:
    """The salt of a file that is made of the images in `path`, a file of `kind` (see `privpipe.store`).

    Raises:
        PrivpipeError: `path` is missing or damaged.
    """
    with open_store(path, kind) as store:
        return derived_salt(store.header.salt, what)


def salted_png(data: bytes, salt: str) -> bytes:
    """A PNG file with a salt in a text chunk that rounds up its size; the same image. Unchanged without a salt.

    Raises:
        ValueError: `data` is no complete PNG.
    """
    if not salt:
        return data
    if not data.endswith(PNG_END):
        raise ValueError("no complete PNG")
    keyword = b"Comment\x00"
    content = b"tEXt" + keyword + _padding(salt, len(data) + PNG_CHUNK + len(keyword))
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return data.removesuffix(PNG_END) + chunk + PNG_END


def salted_html(text: str, salt: str) -> str:
    """A page with a salt in a comment at its end that rounds up its size. Unchanged without a salt."""
    if not salt:
        return text
    padding = _padding(salt, len(text.encode()) + len("<!--  -->\n"))
    return f"{text}<!-- {padding.decode()} -->\n"


def salted_json(text: str, salt: str) -> str:
    """The text of a JSON object with a salt as a last entry `salt` that rounds up its size. Unchanged without a salt.

    Args:
        text: of an object that is not empty, as `privpipe.files.json_text` writes it.
    """
    if not salt:
        return text
    start, end = text.removesuffix("\n}\n") + ',\n  "salt": "', '"\n}\n'
    return start + _padding(salt, len(start.encode()) + len(end)).decode() + end


def _padding(salt: str, size: int) -> bytes:
    """The salt, filled up with dots to what is missing from `size` to the next multiple of `ROUND`."""
    return salt.encode() + b"." * (-(size + len(salt)) % ROUND)
