"""Getting the archive of images: downloaded and resumed, or read where it lies, and never used unverified."""

import email.utils
import fcntl
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from privpipe.errors import PrivpipeError
from privpipe.files import FULL_DISK, make_folder, write_error, write_json

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"  # 170,498,071 bytes
OFFICIAL_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"

CHUNK = 1 << 16  # what a stall or a kill can lose
PROGRESS = 1 << 20  # an attempt that got this much further does not count against the number of attempts
LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the server asks for
RETRIED = {408, 425, 429}  # "not now" answers among the 4xx; every 5xx is one too

logger = logging.getLogger(__name__)


def locate(archive: str | None, sha256: str | None, folder: Path) -> Path:
    """The verified archive on this machine, downloaded into `folder` if it has to be.

    Args:
        archive: an http(s) URL, or the path of a local file, which is read where it lies; None for the
            official CIFAR-10 archive.
        sha256: the checksum of the archive in hexadecimal; required with `archive`, optional without.
        folder: where a downloaded archive is kept, under the last name in the URL's path.

    Raises:
        PrivpipeError: no checksum, a wrong one, no such file, or a download that failed.
    """
    if archive is None:
        if sha256 is not None and _parse_checksum(sha256) != OFFICIAL_SHA256:
            raise PrivpipeError(
                f"data.sha256 is {sha256}, but the official archive has {OFFICIAL_SHA256}. "
                "Set data.sha256 to null, or set data.archive to the file that it belongs to."
            )
        return fetch(OFFICIAL_URL, folder / "cifar-10-python.tar.gz", OFFICIAL_SHA256)
    if sha256 is None:
        raise PrivpipeError(
            f"data.sha256 is required with data.archive={archive}; got null. "
            "Set it to the checksum that the publisher states, or to what `sha256sum FILE` prints for a file you trust."
        )
    expected = _parse_checksum(sha256)
    if archive.lower().startswith(("http://", "https://")):
        return fetch(archive, folder / _name_in_url(archive), expected)
    if "://" in archive:
        raise PrivpipeError(f"data.archive must be an http:// or https:// URL or the path of a file; got {archive}.")
    return _verified_file(Path(archive).expanduser(), expected)


def checksum(path: Path) -> str:
    """The sha256 of the file's bytes in lower-case hexadecimal.

    Raises:
        PrivpipeError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PrivpipeError(f"cannot read {path}: {error.strerror or error}. Check the path and its rights.") from error


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
    expected = _parse_checksum(sha256)
    if destination.is_file() and checksum(destination) == expected:
        return destination
    if destination.is_dir():
        raise PrivpipeError(f"cannot write the download to {destination}: it is a folder. Move it away and run again.")
    download = _Download(url, destination, expected, timeout)
    try:
        make_folder(destination.parent, private=True)
        with _alone(destination):
            download.whole(attempts, backoff)
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
        self.url = url
        self.part = destination.with_name(destination.name + ".part")
        self.note = destination.with_name(destination.name + ".part.json")
        self.sha256 = sha256
        self.timeout = timeout
        self.resumed = False  # whether the file is made of pieces from more than one answer

    def size(self) -> int:
        """How many bytes have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0

    def discard(self) -> None:
        """Remove what has arrived, so that the next attempt starts over."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.resumed = False

    def whole(self, attempts: int, backoff: float) -> None:
        """Have all of the file in `part`, verified; PrivpipeError where that fails."""
        self.run(attempts, backoff)
        found = checksum(self.part)
        if found != self.sha256 and self.resumed:
            # The first half may be from another version of the file or from a crashed disk: a whole one decides.
            logger.warning("the resumed download of %s has a wrong checksum; starting over", self.url)
            self.discard()
            self.run(attempts, backoff)
            found = checksum(self.part)
        if found != self.sha256:
            self.discard()
            raise PrivpipeError(
                f"{self.url} has the sha256 {found}, but {self.sha256} was expected. The download was removed. Run "
                "again if the connection may have damaged it; if it happens twice, check data.archive and data.sha256."
            )

    def run(self, attempts: int, backoff: float) -> None:
        """Try until the whole file has arrived; PrivpipeError when `attempts` in a row brought nothing new."""
        failures, furthest = 0, self.size()
        with requests.Session() as session:
            while True:
                try:
                    return self._attempt(session)
                except _RetryError as problem:
                    if self.size() >= furthest + PROGRESS:
                        failures, furthest = 0, self.size()
                    failures += 1
                    if failures >= attempts:
                        raise self._gave_up(attempts, problem) from problem
                    wait = min(max(backoff * 2 ** (failures - 1), problem.wait), LONGEST_WAIT)
                    logger.warning("%s: %s; trying again in %g s", self.url, problem, wait)
                time.sleep(wait)

    def _attempt(self, session: requests.Session) -> None:
        """One request; returns when the whole file is in `part`."""
        noted = self._read_note()
        if noted.get("sha256", self.sha256) != self.sha256:
            self.discard()  # it is the first half of another file that was wanted under this name
        size = self.size()
        validator = noted.get("validator") if noted.get("url") == self.url else None
        # A transparent gzip layer would make ranges and lengths count something else than the file's bytes.
        headers = {"Accept-Encoding": "identity"}
        if size:
            headers["Range"] = f"bytes={size}-"
            if validator:
                headers["If-Range"] = validator
        with self._get(session, headers) as response:
            if response.status_code == 200:
                self._start_over(response)
            elif response.status_code == 206 and size:
                self._append(response, size, validator)
            elif response.status_code == 416 and size:
                # There is nothing after what we have: it is the whole file, or not of this file.
                if response.headers.get("Content-Range", "").strip() != f"bytes */{size}":
                    self.discard()
                    raise _RetryError(f"the {size:,} bytes from before do not belong to the file on the server")
                self.resumed = True
            else:
                raise self._refused(response)

    def _get(self, session: requests.Session, headers: dict[str, str]) -> requests.Response:
        try:
            return session.get(self.url, headers=headers, stream=True, timeout=self.timeout)
        except (ValueError, requests.TooManyRedirects) as error:  # ValueError: requests' and urllib3's bad URLs
            raise PrivpipeError(f"cannot download {self.url}: {error}. Check the address in data.archive.") from error
        except requests.Timeout as error:
            raise _RetryError(f"no answer within {self.timeout:g} s") from error
        except (OSError, urllib3.exceptions.HTTPError) as error:  # requests' own errors are OSErrors
            raise _RetryError(f"no connection ({error})") from error

    def _start_over(self, response: requests.Response) -> None:
        self.discard()
        # The note comes before the first byte: a kill between the two must not leave bytes of an unknown version.
        write_json(self.note, {"url": self.url, "sha256": self.sha256, "validator": _validator(response)})
        self._receive(response, 0)

    def _append(self, response: requests.Response, size: int, validator: str | None) -> None:
        first = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        changed = validator is not None and _validator(response) not in (None, validator)
        if changed or first is None or int(first[1]) != size:
            self.discard()
            raise _RetryError("the file on the server has changed" if changed else "the server sent a wrong range")
        self.resumed = True
        self._receive(response, size)

    def _receive(self, response: requests.Response, size: int) -> None:
        """Append the body to `part`, which holds `size` bytes."""
        length = response.headers.get("Content-Length", "")
        total = size + int(length) if length.isdecimal() else None
        with (
            open(self.part, "ab", opener=_no_link) as file,
            tqdm(
                desc=self.part.stem,
                initial=size,
                total=total,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                disable=None,  # on a terminal only
            ) as bar,
        ):
            try:
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    file.write(chunk)
                    bar.update(len(chunk))
            except urllib3.exceptions.ReadTimeoutError as error:
                raise _RetryError(f"nothing arrived for {self.timeout:g} s") from error
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
    """Seconds that the server asks to wait, 0 when it does not say: a number, or an HTTP date."""
    asked = response.headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        date = email.utils.parsedate_to_datetime(asked)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # TypeError: a date without a time zone
        return 0.0


def _parse_checksum(sha256: str) -> str:
    """`sha256` in lower case; PrivpipeError if it cannot be one."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise PrivpipeError(f"data.sha256 must be 64 hexadecimal digits, as `sha256sum FILE` prints; got {sha256!r}.")
    return sha256.lower()


def _name_in_url(url: str) -> str:
    """The file name that the URL's path ends in."""
    try:
        name = PurePosixPath(unquote(urlsplit(url).path)).name
    except ValueError as error:
        raise PrivpipeError(f"data.archive is not a valid URL: {url} ({error}).") from error
    if name in ("", "..") or "\0" in name:
        raise PrivpipeError(f"data.archive must end in a file name, as in https://example.org/a.tar.gz; got {url}.")
    return name


def _verified_file(path: Path, expected: str) -> Path:
    """`path`, if it is a file with the sha256 `expected`."""
    if not path.exists():
        raise PrivpipeError(
            f"data.archive={path} does not exist. Give the path of a CIFAR-10 archive, its URL, or null to download it."
        )
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise PrivpipeError(f"data.archive={path} is {kind}. Give the path of the .tar.gz file itself.")
    found = checksum(path)
    if found != expected:
        raise PrivpipeError(
            f"data.archive={path} has the sha256 {found}, but data.sha256 is {expected}. "
            "The file is damaged or another one: copy it again, or correct data.sha256 if you trust it."
        )
    return path
