"""Where the archive is said to be, and what is wrong with what is said."""

import hashlib
from pathlib import Path

import pytest

from privpipe.data import fetch as fetch_module
from privpipe.data import locate as locate_module
from privpipe.data.locate import locate
from privpipe.data.sha256 import checksum
from privpipe.errors import PrivpipeError

CONTENT = bytes(range(256)) * 100
SUM = hashlib.sha256(CONTENT).hexdigest()


def test_locate_reads_a_local_file_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.tar.gz"
    mine.write_bytes(CONTENT)
    assert locate(str(mine), SUM.upper(), tmp_path / "raw") == mine
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/mine.tar.gz", SUM, tmp_path / "raw") == mine
    assert not (tmp_path / "raw").exists()
    assert checksum(mine) == SUM


def test_locate_without_archive_takes_the_official_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Path, str]] = []
    monkeypatch.setattr(fetch_module, "fetch", lambda *arguments: calls.append(arguments))
    locate(None, None, tmp_path)
    locate(None, locate_module.OFFICIAL_SHA256.upper(), tmp_path)
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert calls == [(url, tmp_path / "cifar-10-python.tar.gz", locate_module.OFFICIAL_SHA256)] * 2
    with pytest.raises(PrivpipeError, match=f"data.sha256 is {SUM}, but the official archive has 6d958be"):
        locate(None, SUM, tmp_path)


def test_what_another_folder_keeps_is_not_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "fetch", lambda url, target, expected: target)
    url, new, kept = "https://example.org/a.tar.gz", tmp_path / "new", tmp_path / "kept"
    assert locate(url, SUM, new, kept) == new / "a.tar.gz"
    kept.mkdir()
    (kept / "a.tar.gz").write_bytes(CONTENT)
    assert locate(url, SUM, new, kept) == kept / "a.tar.gz"
    assert locate(url, "0" * 64, new, kept) == new / "a.tar.gz"


@pytest.mark.parametrize(
    ("archive", "sha256", "message"),
    [
        ("a.tar.gz", None, "data.sha256 is required with data.archive=a.tar.gz; got null. .*`sha256sum FILE`"),
        ("a.tar.gz", "12ab", "data.sha256 must be 64 hexadecimal digits.*got '12ab'"),
        ("missing.tar.gz", SUM, "data.archive=missing.tar.gz does not exist"),
        (".", SUM, r"data.archive=\. is a folder"),
        ("/dev/null", SUM, "data.archive=/dev/null is not a regular file"),
        ("ftp://example.org/a.tar.gz", SUM, "must be an http:// or https:// URL or the path of a file; got ftp:"),
        ("https://example.org/", SUM, "must end in a file name"),
        ("https://example.org/a/..", SUM, "must end in a file name"),
        ("https://example.org/a%00b", SUM, "must end in a file name"),
        ("https://[::1/a", SUM, "is not a valid URL"),
        (__file__, SUM, f"test_locate.py has the sha256 [0-9a-f]{{64}}, but data.sha256 is {SUM}"),
    ],
)
def test_locate_says_what_is_wrong(tmp_path: Path, archive: str, sha256: str | None, message: str) -> None:
    with pytest.raises(PrivpipeError, match=message):
        locate(archive, sha256, tmp_path)
