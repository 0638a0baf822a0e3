"""What a program does, without what it says about itself: results depend on code, but not on comments."""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

from privpipe.errors import PrivpipeError


def meaning(source: str) -> str:
    """A program without its comments, layout and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.dump(tree)


def files(entries: Iterable[str | Path], root: str | Path = ".") -> list[Path]:
    """The Python files of `entries` below `root`, in their order: files, and folders with all that lies in them.

    Raises:
        PrivpipeError: there is no such file.
    """
    found: list[Path] = []
    for entry in entries:
        path = Path(root) / entry
        if not path.exists():
            raise PrivpipeError(f"there is no code {path}. Run this from the project's folder.")
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


def digests(entries: Iterable[str | Path]) -> dict[str, str]:
    """The SHA-256 of the meaning of each file of `files(entries)`, by its path."""
    return {
        path.as_posix(): hashlib.sha256(meaning(path.read_text(encoding="utf-8")).encode()).hexdigest()
        for path in files(entries)
    }
