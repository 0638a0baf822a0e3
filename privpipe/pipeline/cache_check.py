"""Whether the files of a DVC cache are what their names say: the MD5 of their content."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path


def damaged(cache: Path) -> Iterator[tuple[Path, str]]:
    """Files of a cache whose content has another MD5 than their name, with what is wrong. Reads all of them."""
    for folder in sorted(Path(entry.path) for entry in _entries(cache / "files" / "md5")):
        if not re.fullmatch("[0-9a-f]{2}", folder.name):
            continue
        for path in sorted(Path(entry.path) for entry in _entries(folder)):
            name = folder.name + path.name.removesuffix(".dir")
            if not re.fullmatch("[0-9a-f]{32}", name):
                continue  # a temporary file of DVC's
            try:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            except OSError as error:
                yield path, f"cannot be read: {error.strerror}"
                continue
            if digest != name:
                yield path, f"its MD5 is {digest}"


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        return list(os.scandir(folder))
    except OSError:  # there is no cache yet
        return []
