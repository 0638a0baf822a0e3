"""Downloading a file: resumed where it was cut, also after a kill, and never used before its checksum was compared."""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from privpipe.data.sha256 import checksum, parse_checksum
from privpipe.errors import PrivpipeError
from privpipe.files import FULL_DISK, make_folder, write_error, write_json

CHUNK = 1 << 16  # what a stall or a kill can lose
PROGRESS = 1 << 20  # an attempt that got this much further does not count against the number of attempts
LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the server asks for
RETRIED = {408, 425, 429}  # "not now" answers among the 4xx; every 5xx is one too

logger = logging.getLogger(__name__)


def fetch(
    url: str, destination: Path, sha256: str, *, attempts: int = 6, timeout: float = 30.0, backoff: float = 1.0
) -> Path:
    """Download `url` to `destination`, unless it is there already, and verify it.

    What has arrived is kept in `<destination>.part`, and the next attempt, or the next call after a kill,
    asks for the rest only. `destination` appears, or is replaced, when the checksum has been verified.

    Args:
        url: an http or https address.
        destination: the file to write; missing folders above it are made.
        sha256: the checksum of the whole file in hexadecimal.
        attempts: how often to try before giving up; one that brought another MiB does not count.
        timeout: seconds without a byte after which the connection is given up.
        backoff: seconds before the second attempt; doubled for each further one, to 60 s at most.

    Returns:
        `destination`.

    Raises:
        PrivpipeError: the server refuses or cannot be reached, the checksum is wrong, or the disk is full.
    """
    expected = parse_checksum(sha256)
    if destination.is_file() and checksum(destination) == expected:
        return destination
    if destination.is_dir():
        raise PrivpipeError(f"cannot write the download to {destination}: it is a folder. Move it away and run again.")
    download = _Download(url, destination, expected, timeout)
    try:
        make_folder(destination.parent, private=True)
        with _alone(destination):
            download.run(attempts, backoff)
            with download.part.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(download.part, destination)
            download.discard()
    except OSError as error:
        if error.errno in FULL_DISK:
            raise PrivpipeError(
                f"no space left while writing {download.part}. The {download.size():,} bytes that arrived are kept: "
                "free some space and run again, and the download goes on from there."
            ) from error
        raise write_error(destination, error) from error
    return destination


@contextmanager
def _alone(destination: Path) -> Iterator[None]:
    """Keep a second process from writing to the same `.part`: the folder is locked, which leaves no file behind.

    Raises:
        PrivpipeError: another process downloads into the same folder.
    """
    descriptor = os.open(destination.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PrivpipeError(
                f"another process is downloading into {destination.parent}. Wait until it has ended, and run again."
            ) from error
        except OSError:  # a file system without locks
            logger.debug("%s cannot be locked", destination.parent)
        yield
    finally:
        os.close(descriptor)


class _RetryError(Exception):
    """An attempt failed in a way that another one may not; `wait` is how many seconds the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


class _Download:
    """One file on its way: the `.part` file, and beside it a note of which version on the server it is part of."""

    def __init__(self, url: str, destination: Path, sha256: str, timeout: float):
        self.url, self.sha256, self.timeout = url, sha256, timeout
        self.part = destination.with_name(destination.name + ".part")
        self.note = destination.with_name(destination.name + ".part.json")
        self.resumed = False  # whether the file is made of pieces from more than one answer

    def size(self) -> int:
        """How many bytes have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0

    def discard(self) -> None:
        """Remove what has arrived, so that the next attempt starts over."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.resumed = False

    def run(self, attempts: int, backoff: float) -> None:
        """Have all of the file in `part`, verified; PrivpipeError when `attempts` in a row brought nothing new."""
        failures, furthest = 0, self.size()
        while True:
            try:
                self._ask()
                return self._verify()
            except _RetryError as problem:
                if self.size() >= furthest + PROGRESS:
                    failures, furthest = 0, self.size()
                failures += 1
                if failures >= attempts:
                    raise self._gave_up(attempts, problem) from problem
                wait = min(max(backoff * 2 ** (failures - 1), problem.wait), LONGEST_WAIT)
                logger.warning("%s: %s; trying again in %g s", self.url, problem, wait)
            time.sleep(wait)

    def _verify(self) -> None:
        actual = checksum(self.part)
        if actual == self.sha256:
            return
        resumed = self.resumed
        self.discard()
        if resumed:  # the first half may be of another version of the file, or from a crashed disk: a whole one decides
            raise _RetryError("the resumed download has a wrong checksum and was removed")
        raise PrivpipeError(
            f"{self.url} has the sha256 {actual}, but {self.sha256} was expected. The download was removed. Run "
            "again if the connection may have damaged it; if it happens twice, check data.archive and data.sha256."
        )

    def _ask(self) -> None:
        """One request; returns when the whole file is in `part`."""
        noted = self._read_note()
        if noted.get("sha256", self.sha256) != self.sha256:
            self.discard()  # it is the first half of another file that was wanted under this name
        size = self.size()
        validator = noted.get("validator") if noted.get("url") == self.url else None
        # A transparent gzip layer would make ranges and lengths count something else than the file's bytes.
        headers = {"Accept-Encoding": "identity"}
        if size:
            headers |= {"Range": f"bytes={size}-"} | ({"If-Range": validator} if validator else {})
        with self._get(headers) as response:
            place = response.headers.get("Content-Range", "").strip()
            if response.status_code == 200:
                self.discard()
                # The note comes before the first byte: a kill between the two leaves no bytes of an unknown version.
                write_json(self.note, {"url": self.url, "sha256": self.sha256, "validator": _validator(response)})
                return self._receive(response, 0)
            if not size or response.status_code not in (206, 416):
                raise self._refused(response)
            changed = validator is not None and _validator(response) not in (None, validator)
            if response.status_code == 206 and not changed and place.startswith(f"bytes {size}-"):
                self.resumed = True
                return self._receive(response, size)
        # After 416 there is nothing beyond what has arrived: it is the whole file, or not of this file.
        if response.status_code == 416 and place == f"bytes */{size}":
            self.resumed = True
            return
        self.discard()
        if response.status_code == 416:
            raise _RetryError(f"the {size:,} bytes from before do not belong to the file on the server")
        raise _RetryError("the file on the server has changed" if changed else "the server sent a wrong range")

    def _get(self, headers: dict[str, str]) -> requests.Response:
        try:
            return requests.get(self.url, headers=headers, stream=True, timeout=self.timeout)
        except (ValueError, requests.TooManyRedirects) as error:  # ValueError: requests' and urllib3's bad URLs
            raise PrivpipeError(f"cannot download {self.url}: {error}. Check the address in data.archive.") from error
        except (OSError, urllib3.exceptions.HTTPError) as error:  # requests' own errors are OSErrors
            raise _RetryError(f"no connection ({error})") from error

    def _receive(self, response: requests.Response, size: int) -> None:
        """Append the body to `part`, which holds `size` bytes."""
        length = response.headers.get("Content-Length", "")
        total = size + int(length) if length.isdecimal() else None
        bar = tqdm(
            desc=self.part.stem, initial=size, total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=None
        )
        with bar, open(self.part, "ab", opener=_no_link) as file:
            try:
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    file.write(chunk)
                    bar.update(len(chunk))
            except urllib3.exceptions.HTTPError as error:
                raise _RetryError(f"the connection was cut ({error})") from error
        if total is not None and self.size() != total:
            raise _RetryError(f"the connection was cut after {self.size():,} of {total:,} bytes")

    def _read_note(self) -> dict[str, str]:
        try:
            noted = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # a .part without a note is resumed too: the checksum decides
        return {k: v for k, v in noted.items() if isinstance(v, str)} if isinstance(noted, dict) else {}

    def _refused(self, response: requests.Response) -> Exception:
        """The error for an answer that brings no file: one to retry after, or one to show."""
        status = f"{response.status_code} {response.reason or ''}".strip()
        if response.status_code in RETRIED or response.status_code >= 500:
            return _RetryError(f"the server answered {status}", _retry_after(response))
        return PrivpipeError(
            f"cannot download {self.url}: the server answered {status}. Check the address in data.archive, "
            f"or {self._by_hand()}."
        )

    def _gave_up(self, attempts: int, problem: _RetryError) -> PrivpipeError:
        kept = f"{self.size():,} bytes are kept and will not be asked for again. " if self.size() else ""
        return PrivpipeError(
            f"cannot download {self.url}: {problem}; gave up after {attempts} attempts. {kept}"
            f"Check the network and run again, or {self._by_hand()}."
        )

    def _by_hand(self) -> str:
        return f"download the file on another machine, set data.archive to its path and data.sha256 to {self.sha256}"


def _no_link(path: str, flags: int) -> int:
    """Open for `open`, readable by the owner alone; a link that somebody put there is an error, not followed."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _validator(response: requests.Response) -> str | None:
    """What tells one version of the file from another: a strong ETag, else the date (RFC 9110, section 13.1.5)."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server asks to wait, as a number or a date; 0 when it does not say."""
    try:
        return urllib3.Retry().get_retry_after(response.raw) or 0.0
    except urllib3.exceptions.InvalidHeader:
        return 0.0
