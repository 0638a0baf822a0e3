"""Key files that people name themselves: git takes no real one, and none takes the place of another."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from privpipe.errors import PrivpipeError
from privpipe.owner.key import new_key, read_any, write_key
from privpipe.owner.keyring import create_key, export_key


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as `privpipe init` makes it, as far as git is concerned, as the current folder."""
    folder = tmp_path / "clone"
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    (folder / ".gitignore").write_text("/data/private/\nkey*.json\n")
    monkeypatch.chdir(folder)
    return folder


def would_be_taken() -> list[str]:
    listing = ["git", "ls-files", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    return sorted(listed.split())


@pytest.mark.parametrize("name", ["lab.json", "real-secret", "keys/lab", ".key.json"])
def test_a_real_key_is_written_nowhere_where_git_takes_it(clone: Path, tmp_path: Path, name: str) -> None:
    write_key(tmp_path / "mine.json", new_key(None))
    (tmp_path / "mine.json").chmod(0o600)
    for write in (lambda: create_key(name, None), lambda: export_key(tmp_path / "mine.json", name)):
        with pytest.raises(PrivpipeError) as caught:
            write()
        assert str(caught.value) == (
            f"files of the key lie in the clone {clone.resolve()}, and the next `git add --all` would take {name}: a "
            "secret key would be published. Put them outside of the clone, or below data/private/ or data/raw/, which "
            "git ignores (`git check-ignore PATH` tells)."
        )
        assert not os.path.lexists(name)
    create_key(name, 3)  # a research key is no secret
    assert would_be_taken() == sorted([".gitignore", name])


@pytest.mark.parametrize("name", ["key.json", "key-of-may.json", "data/private/lab", "../lab.json"])
def test_a_real_key_is_written_where_git_ignores_it_or_outside(clone: Path, name: str) -> None:
    key = create_key(name, None)
    assert read_any(name) == key
    assert would_be_taken() == [".gitignore"]


def test_of_two_that_make_one_key_file_one_succeeds(tmp_path: Path) -> None:
    for number in range(30):
        path, start = tmp_path / f"{number}.json", Barrier(4)

        def make(path: Path = path, start: Barrier = start) -> str | None:
            start.wait()
            try:
                return create_key(path, None).fingerprint
            except PrivpipeError as error:
                assert "a key is never overwritten" in str(error)
                return None

        with ThreadPoolExecutor(4) as pool:
            made = [one for one in pool.map(lambda _: make(), range(4)) if one is not None]
        assert made == [read_any(path).fingerprint]
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".json"]


def test_no_hard_links_are_needed_and_nothing_stays_of_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as FAT and exFAT say, on a stick for a backup

    monkeypatch.setattr(os, "link", refuse)
    create_key(tmp_path / "key.json", None)
    monkeypatch.setattr("privpipe.owner.keyring.write_key", refuse)
    with pytest.raises(PermissionError):
        create_key(tmp_path / "other.json", None)
    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]


def test_a_file_where_the_folder_would_be_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("mine")
    with pytest.raises(PrivpipeError, match=r"cannot write .*lab\.json"):
        create_key(tmp_path / "keys" / "lab.json", None)
