"""Where the archive of images is: downloaded, or read where it lies, and never used unverified."""

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from privpipe.data.sha256 import checksum, parse_checksum
from privpipe.errors import PrivpipeError

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"  # 170,498,071 bytes
OFFICIAL_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def locate(archive: str | None, sha256: str | None, folder: Path, kept: Path | None = None) -> Path:
    """The verified archive on this machine, downloaded into `folder` if it has to be.

    Args:
        archive: an http(s) URL, or the path of a local file, which is read where it lies; None for the
            official CIFAR-10 archive.
        sha256: the checksum of the archive in hexadecimal; required with `archive`, optional without.
        folder: where a downloaded archive is kept, under the last name in the URL's path.
        kept: another such folder, which is looked in first.

    Raises:
        PrivpipeError: no checksum, a wrong one, no such file, or a download that failed.
    """
    if archive is None:
        if sha256 is not None and parse_checksum(sha256) != OFFICIAL_SHA256:
            raise PrivpipeError(
                f"data.sha256 is {sha256}, but the official archive has {OFFICIAL_SHA256}. "
                "Set data.sha256 to null, or set data.archive to the file that it belongs to."
            )
        return _fetched(OFFICIAL_URL, "cifar-10-python.tar.gz", OFFICIAL_SHA256, folder, kept)
    if sha256 is None:
        raise PrivpipeError(
            f"data.sha256 is required with data.archive={archive}; got null. "
            "Set it to the checksum that the publisher states, or to what `sha256sum FILE` prints for a file you trust."
        )
    expected = parse_checksum(sha256)
    if archive.lower().startswith(("http://", "https://")):
        return _fetched(archive, _name_in_url(archive), expected, folder, kept)
    if "://" in archive:
        raise PrivpipeError(f"data.archive must be an http:// or https:// URL or the path of a file; got {archive}.")
    return _verified_file(Path(archive).expanduser(), expected)


def _fetched(url: str, name: str, expected: str, folder: Path, kept: Path | None) -> Path:
    if kept is not None and (kept / name).is_file() and checksum(kept / name) == expected:
        return kept / name
    from privpipe.data.fetch import fetch  # here: it imports requests, which most experiments have no need of

    return fetch(url, folder / name, expected)


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
    actual = checksum(path)
    if actual != expected:
        raise PrivpipeError(
            f"data.archive={path} has the sha256 {actual}, but data.sha256 is {expected}. "
            "The file is damaged or another one: copy it again, or correct data.sha256 if you trust it."
        )
    return path
