"""Writing and reading the store: round trips, the same bytes for the same inputs, and full disks."""

import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from sealing import digests_of

from privpipe import store
from privpipe.errors import PrivpipeError
from privpipe.store import PERTURBED, RAW, SPLITS, Header, create, open_store

COUNTS = {"train": 5, "val": 3, "test": 4}
CLASSES = ("cat", "dog", "Ziege")


def header(kind: str = RAW, dtype: str = "uint8", shape: tuple[int, int, int] = (6, 4, 3)) -> Header:
    if kind == RAW:
        return Header(RAW, "none", 1, "dataset", CLASSES, (0.0, 255.0), shape, dtype)
    return Header(PERTURBED, "random_filter", 5, "image", CLASSES, (0.0, 1.0), shape, dtype, 12.5, "0123456789abcdef")


def content(head: Header) -> dict[str, tuple[NDArray, NDArray[np.int64]]]:
    rng = np.random.default_rng(0)
    return {
        split: (rng.integers(0, 200, (n, *head.shape)).astype(head.dtype), rng.integers(0, 3, n))
        for split, n in COUNTS.items()
    }


def write(path: Path, head: Header) -> Path:
    with create(path, head, COUNTS) as writer:
        for split, (images, labels) in content(head).items():
            writer.write(split, 0, images, labels)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
@pytest.mark.parametrize("kind", [RAW, PERTURBED])
@pytest.mark.parametrize("shape", [(6, 4, 3), (32, 32, 3), (8, 8, 1)])
def test_round_trip(tmp_path: Path, kind: str, dtype: str, shape: tuple[int, int, int]) -> None:
    head = header(kind, dtype, shape)
    with open_store(write(tmp_path / "x.h5", head), kind) as opened:
        assert opened.header == head
        assert opened.counts == COUNTS
        for split, (images, labels) in content(head).items():
            np.testing.assert_array_equal(opened.images(split), images)
            np.testing.assert_array_equal(opened.labels(split), labels)
            assert opened.images(split).dtype == dtype
            assert opened.labels(split).dtype == np.int64


def test_h5py_alone_reads_the_documented_layout(tmp_path: Path) -> None:
    head = header(PERTURBED, "float16")
    with h5py.File(write(tmp_path / "x.h5", head), "r") as file:
        assert sorted(file.attrs) == sorted(
            [
                *("format", "format_version", "method", "k", "scope", "class_names", "image_range"),
                *("sigma", "key_fingerprint", "salt"),
            ]
        )
        assert file.attrs["format"] == b"privpipe-perturbed" and file.attrs["format_version"] == 2
        assert (file.attrs["sigma"], file.attrs["key_fingerprint"], file.attrs["salt"]) == (
            12.5,
            b"0123456789abcdef",
            b"",
        )
        assert (file.attrs["method"], file.attrs["k"], file.attrs["scope"]) == (b"random_filter", 5, b"image")
        assert file.attrs["class_names"].tolist() == [b"cat", b"dog", b"Ziege"]
        assert file.attrs["image_range"].tolist() == [0, 1]
        for split, (images, labels) in content(head).items():
            assert sorted(file[split]) == ["digests", "images", "labels"]
            np.testing.assert_array_equal(file[split]["digests"][:], digests_of(images))
            np.testing.assert_array_equal(file[split]["images"][:], images)
            np.testing.assert_array_equal(file[split]["labels"][:], labels)


def test_class_names_beyond_ascii(tmp_path: Path) -> None:
    head = Header(RAW, "none", 1, "dataset", ("Käfer", "×"), (0.0, 255.0), (2, 2, 3), "uint8")
    with create(tmp_path / "x.h5", head, dict.fromkeys(SPLITS, 1)) as writer:
        for split in SPLITS:
            writer.write(split, 0, np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, np.int64))
    with open_store(tmp_path / "x.h5", RAW) as opened:
        assert opened.header.class_names == ("Käfer", "×")


def test_rows_written_in_parts_and_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = header()
    with create(tmp_path / "x.h5", head, COUNTS) as writer:
        for split, (images, labels) in content(head).items():
            for start in (2, 0):
                writer.write(split, start, images[start : start + 2], labels[start : start + 2])
            writer.write(split, 4, images[4:], labels[4:])
    monkeypatch.setattr(store, "CHUNK_BYTES", 2 * 6 * 4 * 3 + 1)
    with open_store(tmp_path / "x.h5", RAW) as opened:
        assert list(opened.spans("train")) == [(0, 2), (2, 4), (4, 5)]
        for split, (images, labels) in content(head).items():
            np.testing.assert_array_equal(opened.images(split), images)
            np.testing.assert_array_equal(opened.rows(split, 1, 3), images[1:3])
            np.testing.assert_array_equal(opened.labels(split), labels)


@pytest.mark.parametrize(("start", "stop"), [(0, 9), (4, 6), (5, 9), (7, 9), (2, 2), (3, 1)])
def test_rows_end_where_the_split_does(tmp_path: Path, start: int, stop: int) -> None:
    with open_store(write(tmp_path / "x.h5", header()), RAW) as opened:
        np.testing.assert_array_equal(opened.rows("train", start, stop), content(header())["train"][0][start:stop])


def test_an_image_larger_than_a_chunk_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 1)
    with open_store(write(tmp_path / "x.h5", header()), RAW) as opened:
        assert list(opened.spans("val")) == [(0, 1), (1, 2), (2, 3)]


def test_a_split_may_be_empty(tmp_path: Path) -> None:
    with create(tmp_path / "x.h5", header(), COUNTS | {"test": 0}) as writer:
        for split in ("train", "val"):
            writer.write(split, 0, *content(header())[split])
    with open_store(tmp_path / "x.h5", RAW) as opened:
        assert opened.images("test").shape == (0, 6, 4, 3)
        assert opened.labels("test").shape == (0,)


def test_the_same_inputs_give_the_same_bytes_at_another_time_and_place(tmp_path: Path) -> None:
    headers = [header(RAW), header(PERTURBED, "float16")]
    first = [write(tmp_path / "first.h5", head).read_bytes() for head in headers]
    time.sleep(1.1)  # HDF5's dates have a resolution of one second
    assert [write(tmp_path / "other" / "second.h5", head).read_bytes() for head in headers] == first


def test_nothing_readable_is_in_the_file_but_the_header(tmp_path: Path) -> None:
    with create(tmp_path / "x.h5", header(PERTURBED, "float16"), COUNTS) as writer:
        for split, (images, labels) in content(header(PERTURBED, "float16")).items():
            writer.write(split, 0, images * 0, labels * 0)
    names = [b"format", b"format_version", b"method", b"k", b"scope", b"class_names", b"image_range"]
    names += [b"sigma", b"key_fingerprint", b"salt", b"0123456789abcdef"]
    values = [b"privpipe-perturbed", b"random_filter", b"image", *(name.encode() for name in CLASSES)]
    structure = [b"train", b"val", b"test", b"images", b"labels", b"digests", b"HDF", b"OHDR", b"OCHK"]
    known = sorted([*names, *values, *structure], key=len, reverse=True)
    content_of_file = (tmp_path / "x.h5").read_bytes()
    lines = content_of_file[:512].rstrip(b"\0").split(b"\n")
    assert [line.split()[0] for line in lines[:-1]] == [b"privpipe", b"bytes", b"images", b"xxh3_64"]
    rest = re.sub(b"|".join(known), b"\0", content_of_file[512:])
    assert re.findall(rb"[ -~]{5,}", rest) == []


def test_the_file_has_little_but_the_data(tmp_path: Path) -> None:
    size = write(tmp_path / "x.h5", header()).stat().st_size
    assert size - sum(COUNTS.values()) * (6 * 4 * 3 + 8) < 4096


def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", header())
    old = path.read_bytes()
    with pytest.raises(ValueError, match="stop"), create(path, header(), COUNTS) as writer:
        writer.write("train", 0, *content(header())["train"])
        raise ValueError("stop")
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_rows_never_written_are_noticed_when_reading(tmp_path: Path) -> None:
    with create(tmp_path / "x.h5", header(), COUNTS) as writer:
        writer.write("train", 0, *content(header())["train"])
    opening = open_store(tmp_path / "x.h5", RAW)
    with pytest.raises(PrivpipeError, match="is damaged: val is not stored completely"), opening:
        pass


FULL = """
import json, resource, signal, sys
from pathlib import Path
import numpy as np
from privpipe.errors import PrivpipeError
from privpipe.store import RAW, SPLITS, Header, create
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, results = Path(sys.argv[1]), {}
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited))
    try:
        with create(path, Header(RAW, "none", 1, "dataset", ("a",), (0.0, 255.0), (8, 8, 3), "uint8"),
                    dict.fromkeys(SPLITS, 400)) as writer:
            for split in SPLITS:
                writer.write(split, 0, np.ones((400, 8, 8, 3), np.uint8), np.zeros(400, np.int64))
        results[limit] = "written"
    except PrivpipeError as error:
        results[limit] = str(error)
    if list(path.parent.iterdir()) != [path] or (results[limit] == "written") == (path.read_bytes() == b"old"):
        results[limit] += " BUT the folder is wrong"
print(json.dumps(results))
"""


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """The images and labels are 240,000 bytes: the disk is full at the header, within the rows, and at the close."""
    path = tmp_path / "x.h5"
    path.write_bytes(b"old")
    limits = [0, 100, 1_500, 3_000, 50_000, 200_000, *range(236_000, 242_001, 500), 239_999]
    arguments = [sys.executable, "-c", FULL, str(path), *map(str, [*limits, 1_000_000])]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    full = f"no space left while writing {path}; nothing was changed. Free some space and run the command again."
    assert results == dict.fromkeys(map(str, limits), full) | {"1000000": "written"}


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with (
        pytest.raises(PrivpipeError, match=r"^cannot write .*file/x\.h5: .*Check the folder and its permissions\.$"),
        contextlib.ExitStack() as stack,
    ):
        stack.enter_context(create(tmp_path / "file" / "x.h5", header(), COUNTS))
