"""What git and a DVC remote hold, file by file, and which of it shows an original."""

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from leaks.decode import decode
from leaks.find import THRESHOLD, Finder

Held = dict[str, bytes]


@dataclass
class Found:
    """What was found: each original with its score, exact pieces of secrets, and files that could not be read."""

    originals: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    looked_at: int = 0


def files_below(folder: Path) -> Held:
    """All files below a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def files_for_git(clone: Path) -> Held:
    """The files of a work tree that git has, or that `git add --all` would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=clone, capture_output=True, check=True).stdout.decode()
    names = [name for name in listed.split("\0") if name]
    return {name: (clone / name).read_bytes() for name in names if (clone / name).is_file()}


def objects(repository: Path) -> Held:
    """Every file and message in a repository's objects, of whatever branch, experiment or stash, or of none."""
    command = ["git", "cat-file", "--batch-all-objects", "--batch"]
    dump = subprocess.run(command, cwd=repository, capture_output=True, check=True).stdout
    held, at = {}, 0
    while at < len(dump):
        end = dump.index(b"\n", at)
        name, kind, size = dump[at:end].decode().split()
        if kind != "tree":
            held[f"{repository.name} {kind} {name[:12]}"] = dump[end + 1 : end + 1 + int(size)]
        at = end + int(size) + 2
    return held


def look(
    held: Mapping[str, bytes], finder: Finder, sides: Iterable[int], pieces: Iterable[bytes], seen: set[bytes]
) -> Found:
    """Look for originals by similarity in every file, and for pieces of secrets byte by byte.

    Args:
        sides: see `leaks.decode.decode`.
        seen: digests of contents that need no look; what is looked at here is added.
    """
    found, pieces, sides = Found(), list(pieces), list(sides)
    for name, content in held.items():
        digest = sha256(content).digest()
        if digest in seen:
            continue
        seen.add(digest)
        found.looked_at += 1
        if any(piece in content for piece in pieces):
            found.pieces.append(name)
        decoded = decode(name, content, sides)
        found.unread += decoded.unread
        for place, image in decoded.images:
            match = finder.best(image)
            if match.score >= THRESHOLD:
                found.originals.append(f"{place}: original {match.original}, {match.score:.2f}")
    return found
