"""Downloads from a real server on this machine that cuts, stalls, refuses and changes its mind."""

import errno
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from privpipe.data import fetch as module
from privpipe.data.fetch import fetch
from privpipe.data.locate import locate
from privpipe.errors import PrivpipeError

PAYLOAD = np.random.default_rng(3).bytes(1_000_000)
SUM = hashlib.sha256(PAYLOAD).hexdigest()
HALF = 8 * module.CHUNK  # bytes that are written out before a cut
QUICK = {"backoff": 0.001, "timeout": 5.0}

Act = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Answers request i by `script[i]`, and with `whole` when the script is at its end."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.payload = PAYLOAD
        self.etag = '"one"'
        self.script: list[Act] = []
        self.requests: list[dict[str, str]] = []
        self.sent: list[int] = []  # bytes of body, by request
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/files/set.tar.gz"

    def handle_error(self, *_: object) -> None:
        """Clients that are killed or give up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        number = len(self.server.requests)
        self.server.requests.append(dict(self.headers))
        self.server.sent.append(0)
        act = self.server.script[number] if number < len(self.server.script) else whole
        act(self)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def body(self, content: bytes) -> None:
        self.wfile.write(content)
        self.server.sent[-1] += len(content)


def whole(handler: Handler, upto: int | None = None) -> None:
    """What a good server does, ranges and If-Range included; `upto`: it sends so many bytes and cuts."""
    payload, etag = handler.server.payload, handler.server.etag
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if asked and handler.headers.get("If-Range", etag) == etag:
        start = int(asked[1])
        if start >= len(payload):
            return handler.head(416, Content_Range=f"bytes */{len(payload)}")
        place = f"bytes {start}-{len(payload) - 1}/{len(payload)}"
        handler.head(206, Content_Range=place, Content_Length=len(payload) - start, ETag=etag)
    else:
        start = 0
        handler.head(200, Content_Length=len(payload), ETag=etag)
    handler.body(payload[start:upto])


def cut(handler: Handler) -> None:
    whole(handler, HALF)


def no_ranges(handler: Handler) -> None:
    handler.head(200, Content_Length=len(PAYLOAD))
    handler.body(PAYLOAD)


def stall(handler: Handler) -> None:
    cut(handler)
    handler.server.released.wait(20)


def status(code: int, **headers: object) -> Act:
    return lambda handler: handler.head(code, Content_Length=0, **headers)


def changed_then_cut(handler: Handler) -> None:
    """A cut, after which the file on the server is another one."""
    cut(handler)
    handler.server.etag = '"two"'
    handler.server.payload = PAYLOAD[::-1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "set.tar.gz"


def expect_only(target: Path, content: bytes = PAYLOAD) -> None:
    """`target` is there, and nothing beside it."""
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_download_arrives_verified(server: Server, target: Path) -> None:
    assert fetch(server.url, target, SUM.upper(), **QUICK) == target
    expect_only(target)
    assert len(server.requests) == 1
    assert "Range" not in server.requests[0]
    assert server.requests[0]["Accept-Encoding"] == "identity"


def test_a_cut_connection_is_resumed(server: Server, target: Path) -> None:
    server.script = [cut]
    fetch(server.url, target, SUM, **QUICK)
    expect_only(target)
    assert server.requests[1]["Range"] == f"bytes={HALF}-"
    assert server.requests[1]["If-Range"] == '"one"'
    assert server.sent == [HALF, len(PAYLOAD) - HALF]


def test_a_server_without_ranges_starts_over(server: Server, target: Path) -> None:
    server.script = [cut, no_ranges]
    fetch(server.url, target, SUM, **QUICK)
    expect_only(target)
    assert server.sent == [HALF, len(PAYLOAD)]


def test_a_file_that_changes_between_attempts_is_not_glued(server: Server, target: Path) -> None:
    server.script = [changed_then_cut]
    fetch(server.url, target, hashlib.sha256(PAYLOAD[::-1]).hexdigest(), **QUICK)
    expect_only(target, PAYLOAD[::-1])
    assert server.sent == [HALF, len(PAYLOAD)]


def test_a_changed_etag_is_seen_when_the_server_ignores_if_range(
    server: Server, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def careless(handler: Handler) -> None:
        place = f"bytes {HALF}-{len(PAYLOAD) - 1}/{len(PAYLOAD)}"
        handler.head(206, Content_Range=place, Content_Length=len(PAYLOAD) - HALF, ETag='"two"')
        handler.body(handler.server.payload[HALF:])

    server.script = [changed_then_cut, careless]
    fetch(server.url, target, hashlib.sha256(PAYLOAD[::-1]).hexdigest(), **QUICK)
    expect_only(target, PAYLOAD[::-1])
    assert "the file on the server has changed" in caplog.text


def test_a_glued_file_without_etags_is_downloaded_whole(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("set.tar.gz.part").write_bytes(b"an old half")
    fetch(server.url, target, SUM, **QUICK)
    expect_only(target)
    assert [request.get("Range") for request in server.requests] == ["bytes=11-", None]


def test_a_half_of_another_file_is_not_resumed(server: Server, target: Path) -> None:
    server.script = [cut, status(404)]
    with pytest.raises(PrivpipeError):
        fetch(server.url, target, "0" * 64, **QUICK)
    fetch(server.url, target, SUM, **QUICK)
    expect_only(target)
    assert "Range" not in server.requests[2]


@pytest.mark.parametrize("place", ["bytes 0-999999/1000000", "", "nonsense"])
def test_a_wrong_content_range_starts_over(
    server: Server, target: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [cut, status(206, Content_Range=place)]
    fetch(server.url, target, SUM, **QUICK)
    expect_only(target)
    assert "the server sent a wrong range" in caplog.text


@pytest.mark.parametrize("kept", [PAYLOAD, PAYLOAD + b"more", PAYLOAD[::-1]])
def test_a_part_with_nothing_after_it_is_whole_or_starts_over(server: Server, target: Path, kept: bytes) -> None:
    target.parent.mkdir()
    target.with_name("set.tar.gz.part").write_bytes(kept)
    fetch(server.url, target, SUM, **QUICK)
    expect_only(target)
    assert sum(server.sent) == (0 if kept == PAYLOAD else len(PAYLOAD))


def test_a_stall_is_given_up_and_resumed(server: Server, target: Path) -> None:
    server.script = [stall]
    fetch(server.url, target, SUM, backoff=0.001, timeout=0.3)
    expect_only(target)
    assert server.requests[1]["Range"] == f"bytes={HALF}-"


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_fails_at_once(server: Server, target: Path, code: int) -> None:
    server.script = [status(code)]
    with pytest.raises(
        PrivpipeError, match=f"the server answered {code} .* Check the address in data.archive, or downl"
    ):
        fetch(server.url, target, SUM, **QUICK)
    assert len(server.requests) == 1
    assert not target.exists()


def test_server_errors_are_retried_with_growing_waits(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    date = formatdate(time.time() + 120, usegmt=True)
    server.script = [status(500), status(500), status(429, Retry_After=7), status(503, Retry_After=date)]
    server.script += [status(503, Retry_After="soon")]
    fetch(server.url, target, SUM, backoff=0.5)
    expect_only(target)
    assert waits == [0.5, 1, 7, 60, 8]
    assert "the server answered 500 Internal Server Error; trying again in 0.5 s" in caplog.text


def test_it_gives_up_after_so_many_attempts_and_keeps_what_came(server: Server, target: Path) -> None:
    server.script = [cut, status(500), status(500)]
    with pytest.raises(PrivpipeError) as caught:
        fetch(server.url, target, SUM, attempts=3, **QUICK)
    assert f"cannot download {server.url}: the server answered 500" in str(caught.value)
    assert "gave up after 3 attempts. 524,288 bytes are kept" in str(caught.value)
    assert f"set data.archive to its path and data.sha256 to {SUM}" in str(caught.value)
    fetch(server.url, target, SUM, **QUICK)
    assert server.requests[3]["Range"] == f"bytes={HALF}-"


def test_attempts_that_get_further_do_not_count(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS", 200_000)
    monkeypatch.setattr(module, "CHUNK", 1000)
    server.script = [lambda handler, upto=upto: whole(handler, upto) for upto in range(200_000, 1_000_000, 200_000)]
    fetch(server.url, target, SUM, attempts=2, **QUICK)
    expect_only(target)
    assert server.sent == [200_000] * 5


def test_a_wrong_checksum_removes_the_download_and_names_both(server: Server, target: Path) -> None:
    with pytest.raises(PrivpipeError) as caught:
        fetch(server.url, target, "0" * 64, **QUICK)
    assert f"has the sha256 {SUM}, but {'0' * 64} was expected" in str(caught.value)
    assert "The download was removed" in str(caught.value)
    assert len(server.requests) == 1
    assert list(target.parent.iterdir()) == []


def test_no_server(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/set.tar.gz"
        with pytest.raises(PrivpipeError, match=r"no connection .*gave up after 2 attempts.*on another machine"):
            fetch(url, target, SUM, attempts=2, **QUICK)


@pytest.mark.parametrize("url", ["http://", "http://[::1/set.tar.gz", f"http://{'a' * 70}.example/x", "nonsense"])
def test_a_bad_address_fails_at_once(target: Path, url: str) -> None:
    with pytest.raises(PrivpipeError, match=r"Check the address in data\.archive"):
        fetch(url, target, SUM, backoff=100)


def test_what_is_there_is_not_asked_for(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(PAYLOAD)
    fetch(server.url, target, SUM, **QUICK)
    assert server.requests == []


def test_a_wrong_file_is_replaced_only_when_the_new_one_is_whole(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    server.script = [status(404)]
    with pytest.raises(PrivpipeError):
        fetch(server.url, target, SUM, **QUICK)
    assert target.read_bytes() == b"old"
    fetch(server.url, target, SUM, **QUICK)
    expect_only(target)


RUN = "import sys; from pathlib import Path; from privpipe.data.fetch import fetch; "


def test_a_killed_download_is_resumed(server: Server, target: Path) -> None:
    server.script = [stall]
    code = RUN + "fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3])"
    part = target.with_name("set.tar.gz.part")
    with subprocess.Popen([sys.executable, "-c", code, server.url, str(target), SUM]) as process:
        while not part.exists() or part.stat().st_size < HALF:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    fetch(server.url, target, SUM, **QUICK)
    expect_only(target)
    assert server.requests[1]["Range"] == f"bytes={HALF}-"


def test_a_full_disk_is_told_and_the_download_goes_on_later(server: Server, target: Path) -> None:
    code = RUN + (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3])"
    )
    command = [sys.executable, "-c", code, server.url, str(target), SUM]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "PrivpipeError: no space left while writing" in result.stderr
    assert "The 300,000 bytes that arrived are kept: free some space and run again" in result.stderr
    assert not target.exists()
    fetch(server.url, target, SUM, **QUICK)
    expect_only(target)
    assert server.requests[1]["Range"] == "bytes=300000-"


def test_a_folder_that_cannot_be_written_is_told(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PrivpipeError, match=r"cannot write .*set\.tar\.gz: Permission denied"):
        fetch("http://127.0.0.1:9/set.tar.gz", target, SUM)


def test_locate_downloads_a_url_under_its_own_name(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("set.tar", "my%20set.tar") + "?version=2#top"
    assert locate(url, SUM, tmp_path / "raw") == tmp_path / "raw" / "my set.tar.gz"
    expect_only(tmp_path / "raw" / "my set.tar.gz")
