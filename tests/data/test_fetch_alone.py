"""A download follows no link that lies in its way, hides what it brings, and has its folder to itself."""

import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from privpipe.data.fetch import fetch
from privpipe.errors import PrivpipeError

CONTENT = bytes(range(256)) * 300
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/x.tar.gz"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_link_in_place_of_the_half_file_is_not_followed(url: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "x.tar.gz.part").symlink_to(victim)
    # The answer begins the file anew, which removes the link; a link that comes back later is an error.
    assert fetch(url, folder / "x.tar.gz", SHA256, attempts=1).read_bytes() == CONTENT
    assert victim.read_bytes() == b"precious" and not (folder / "x.tar.gz").is_symlink()


def test_a_link_that_comes_while_the_answer_begins_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    part = tmp_path / "x.tar.gz.part"
    monkeypatch.setattr(
        "privpipe.data.fetch.write_json",
        lambda *_: part.symlink_to(victim),  # after all leftovers are gone
    )
    with pytest.raises(PrivpipeError, match=r"cannot write .*x\.tar\.gz: Too many levels of symbolic links"):
        fetch(url, tmp_path / "x.tar.gz", SHA256, attempts=1)
    assert victim.read_bytes() == b"precious"


def test_what_is_downloaded_and_its_new_folder_are_for_the_owner_alone(url: str, tmp_path: Path) -> None:
    path = fetch(url, tmp_path / "raw" / "x.tar.gz", SHA256, attempts=1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_second_download_into_the_folder_is_refused_and_leaves_the_first_alone(url: str, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz.part").write_bytes(CONTENT[:1000])
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(PrivpipeError, match=r"another process is downloading into .*\. Wait until it has ended"):
            fetch(url, tmp_path / "x.tar.gz", SHA256, attempts=1)
        assert (tmp_path / "x.tar.gz.part").read_bytes() == CONTENT[:1000]
    finally:
        os.close(other)
    assert fetch(url, tmp_path / "x.tar.gz", SHA256, attempts=1).read_bytes() == CONTENT
