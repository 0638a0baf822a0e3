"""What is no sound image is refused in plain words, and the images below a folder are found."""

import io
import os
import re
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import saved, smooth
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from privpipe.data import image_files
from privpipe.data.image_files import read_image
from privpipe.data.listing import find_images
from privpipe.data.readers import pillow
from privpipe.errors import PrivpipeError

N = 16
RGB = np.random.default_rng(0).integers(0, 256, (N, N, 3), np.uint8)


def sample(format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(smooth(24, 24)).save(buffer, format_, **options)
    return buffer.getvalue()


SAMPLES = {
    "PNG": sample("PNG"),
    "JPEG": sample("JPEG"),
    "progressive JPEG": sample("JPEG", progressive=True),
    "BMP": sample("BMP"),
    "TIFF": sample("TIFF"),
    "WebP": sample("WEBP"),
    "lossless WebP": sample("WEBP", lossless=True),
}


def bomb(width: int, height: int) -> bytes:
    """The beginning of a PNG that announces a huge image."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + content
        + struct.pack(">I", zlib.crc32(content))
        + b"\0\0\1\0IDAT"
    )


def as_bytes(image: Image.Image, format_: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return buffer.getvalue()


NO_IMAGE = "not a PNG, JPEG, BMP, TIFF, WebP, GIF, AVIF, JPEG 2000 or DICOM image, or damaged at its beginning"
BROKEN = {
    "empty": (b"", "the file is empty"),
    "text": (b"Not an image at all.\n", NO_IMAGE),
    "PCX": (as_bytes(Image.fromarray(RGB[..., 0]), "PCX"), NO_IMAGE),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(200), "is HEIC, which is not read; save it as PNG, TIFF or JPEG"),
    "zeros": (bytes(5000), NO_IMAGE),
    "signature only": (SAMPLES["PNG"][:8], NO_IMAGE),
    **{f"half a {kind}": (data[: len(data) // 2], "cut short or damaged") for kind, data in SAMPLES.items()},
    **{f"{kind} without its end": (SAMPLES[kind][:-20], "cut short or damaged") for kind in ("JPEG", "BMP", "WebP")},
    "damaged checksum": (SAMPLES["PNG"].replace(b"IDAT", b"IDAT\1"), "cut short or damaged"),
    "announces 400 megapixels": (bomb(20_000, 20_000), "has more pixels than the 67,108,864 that are allowed"),
    "announces 100 megapixels": (bomb(10_000, 10_000), "has 10,000 x 10,000 pixels, more than the 67,108,864"),
    "floats": (
        as_bytes(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
        "its pixels are floating-point numbers of 32",
    ),
    "32-bit": (
        as_bytes(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"),
        "its pixels are signed integers of 32 bits",
    ),
    "LAB": (as_bytes(Image.new("LAB", (4, 4)), "TIFF"), "its pixels are LAB colours"),
}


def reason(path: Path) -> str:
    with pytest.raises(PrivpipeError) as caught:
        read_image(path, N)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files(tmp_path: Path, kind: str) -> None:
    content, expected = BROKEN[kind]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    assert reason(path).startswith(expected)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert reason(tmp_path / "missing.png") == "cannot be read: no such file or directory"
    assert reason(tmp_path) == "is a folder, not an image"
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "is not a regular file"
    (tmp_path / "link.png").symlink_to(tmp_path / "missing.png")
    assert reason(tmp_path / "link.png") == "cannot be read: no such file or directory"
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    assert reason(tmp_path / "round.png") == "cannot be read: too many levels of symbolic links"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.webp").open("wb") as file:
        file.truncate(2**30 + 1)
    assert reason(tmp_path / "x.webp") == "the file has 1,073,741,825 bytes, more than 1,073,741,824"


def test_a_file_that_vanishes_or_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(RGB))
    for error, expected in [
        (FileNotFoundError(2, "No such file or directory"), "cannot be read: no such file or directory"),
        (PermissionError(13, "Permission denied"), "cannot be read: permission denied"),
    ]:

        def refuse(*args: Any, error: OSError = error) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", refuse)
            assert reason(path) == expected


def test_an_image_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image, size: int) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(image_files, "square", fail)
    assert reason(saved(tmp_path / "x.png", Image.fromarray(RGB))) == "does not fit into memory; scale it down first"


def test_a_large_jpeg_is_decoded_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit holds for what is decoded; a progressive JPEG is decoded whole first."""
    monkeypatch.setattr(pillow, "MAX_PIXELS", 10_000)
    image = Image.fromarray(smooth(400, 400))
    assert read_image(saved(tmp_path / "x.jpg", image), 16).shape == (16, 16, 3)
    path = saved(tmp_path / "y.jpg", image, progressive=True)
    assert reason(path) == "has 400 x 400 pixels, more than the 10,000 that are allowed; scale it down first"


def noisy_jpeg(path: Path) -> Path:
    """A sound JPEG whose metadata makes Pillow warn."""
    return saved(path, Image.fromarray(RGB), exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\0\0\0\0\0\0")


def test_no_warning_escapes_from_any_thread(tmp_path: Path) -> None:
    path = noisy_jpeg(tmp_path / "x.jpg")
    with pytest.warns(UserWarning), Image.open(path) as image:
        image.getexif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: read_image(path, N), range(200)))
        assert warnings.filters == before
        with pytest.raises(UserWarning):
            warnings.warn("others still count", stacklevel=1)
    assert all(np.array_equal(one, found[0]) for one in found)


edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


@pytest.mark.parametrize("kind", SAMPLES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=edits, cut=st.floats(0.2, 1), header=st.booleans())
def test_damaged_bytes_give_an_image_or_our_error(
    tmp_path: Path, kind: str, edits: list[tuple[float, int]], cut: float, header: bool
) -> None:
    data = bytearray(SAMPLES[kind])
    for place, value in edits:
        data[int(place * (min(len(data), 120) if header else len(data)))] = value
    path = tmp_path / "x"
    path.write_bytes(data[: int(len(data) * cut) + 1])
    try:
        found = read_image(path, 8)
    except PrivpipeError as error:
        assert re.match(rf"{path}: \w", str(error))
    else:
        assert found.shape == (8, 8, 3) and found.dtype == np.uint8


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_images(folder)]


def test_images_are_found_by_suffix_in_order(tmp_path: Path) -> None:
    wanted = ["B.JPG", "a.png", "a/1.jpeg", "a/b/c.WebP", "a/b/d.tiff", "é.bmp", "z.tif"]
    others = [
        "notes.txt",
        "Thumbs.db",
        ".DS_Store",
        ".hidden.png",
        ".git/x.png",
        "a/._c.jpg",
        "png",
        "x.heic",
        "x.png~",
    ]
    touch(tmp_path, *wanted, *others)
    assert names(tmp_path) == sorted(wanted)
    assert find_images(tmp_path / ".git") == [tmp_path / ".git" / "x.png"]  # asked for by name


def test_a_folder_that_is_called_like_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "x.png/1.png")
    assert names(tmp_path) == ["x.png/1.png"]


def test_links(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    touch(tmp_path, "folder/sub/1.png", "elsewhere/2.png", "other.png")
    (folder / "loop").symlink_to(folder)
    (folder / "sub" / "up").symlink_to(tmp_path)
    (folder / "again").symlink_to(folder / "sub")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "broken.png").symlink_to(tmp_path / "missing.png")
    assert names(folder) == ["again/1.png", "broken.png", "linked/2.png"]


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"^cannot list .*/missing: No such file or directory\. Check the path"):
        find_images(tmp_path / "missing")
    touch(tmp_path, "file.png")
    with pytest.raises(PrivpipeError, match=r"^cannot list .*/file\.png: Not a directory\."):
        find_images(tmp_path / "file.png")
