"""What git holds, or would take, is found wherever it is: tracked, untracked, committed and removed, stashed."""

import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from leaks import held
from leaks.find import Finder
from leaks.photos import photographs
from PIL import Image

ORIGINALS = photographs(6, 32, seed=4)
OTHER = photographs(1, 32, seed=5)[0]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    Image.fromarray(OTHER).save(tmp_path / "other.png")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message=start")
    return tmp_path


def git(folder: Path, *words: str) -> None:
    names = {f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, env={**os.environ, **names})


def look(contents: held.Held, pieces: tuple[bytes, ...] = (), seen: set[bytes] | None = None) -> held.Found:
    return held.look(contents, Finder(ORIGINALS), [32], pieces, set() if seen is None else seen)


def test_untracked_files_count_and_ignored_ones_do_not(clone: Path) -> None:
    assert look({**held.files_for_git(clone), **held.objects(clone)}) == held.Found(looked_at=3)
    for name in ("untracked.png", "ignored/a.png"):
        (clone / name).parent.mkdir(exist_ok=True)
        Image.fromarray(ORIGINALS[2]).save(clone / name)
    found = look(held.files_for_git(clone)).originals
    assert len(found) == 1 and found[0].startswith("untracked.png: original 2, 1.00")


def test_what_was_committed_and_removed_again_is_found_in_the_objects(clone: Path) -> None:
    Image.fromarray(ORIGINALS[3]).save(clone / "short.png")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message=with it")
    git(clone, "reset", "--quiet", "--hard", "HEAD~1")
    assert not look(held.files_for_git(clone)).originals
    assert "original 3, 1.00" in look(held.objects(clone)).originals[0]


def test_pieces_and_unread_files_are_named_and_known_contents_passed_over(clone: Path) -> None:
    contents = {"a": b"xx secret xx", "b": b"\0\1\2odd"}
    found = look(contents, (b"secret",))
    assert found.pieces == ["a"] and found.unread[0].startswith("b: 6 bytes of an unknown form")
    known = {sha256(content).digest() for content in contents.values()}
    assert look(contents, (b"secret",), known) == held.Found()
