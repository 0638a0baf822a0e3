"""No file, however damaged or hostile, does anything but fail with a message that says what to do."""

import math
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sealing import reseal

from privpipe import store
from privpipe.checksum import check, seal
from privpipe.errors import PrivpipeError
from privpipe.store import FORMAT_VERSION, PERTURBED, RAW, SPLITS, Header, create, open_store

N, SHAPE = 4, (4, 4, 3)
IMAGE_BYTES, LABEL_BYTES = N * 48, N * 8
ATTRIBUTES: dict[str, Any] = {
    "format": np.bytes_(RAW),
    "format_version": FORMAT_VERSION,
    "method": np.bytes_("none"),
    "k": 1,
    "scope": np.bytes_("dataset"),
    "class_names": np.array([b"cat", b"dog", b"cow"]),
    "image_range": np.array([0.0, 255.0]),
    "sigma": 0.0,
    "key_fingerprint": np.bytes_(b""),
    "salt": np.bytes_(b""),
}
Change = Callable[[h5py.File], object]


def plain(path: Path, libver: str = "latest") -> Path:
    """A valid file as h5py alone writes it; `earliest` has no checksums, so that damage gets past HDF5's own checks."""
    with h5py.File(path, "w", libver=libver, userblock_size=512) as file:
        file.attrs.update(ATTRIBUTES)
        for split in SPLITS:
            file[f"{split}/images"] = np.arange(IMAGE_BYTES, dtype=np.uint8).reshape(N, *SHAPE)
            file[f"{split}/labels"] = np.array([0, 1, 2, 1])
            file[f"{split}/digests"] = np.zeros(1, np.uint64)
    return reseal(path)


def ours(path: Path) -> Path:
    """The same through `create`."""
    header = Header(RAW, "none", 1, "dataset", ("cat", "dog", "cow"), (0.0, 255.0), SHAPE, "uint8")
    with create(path, header, dict.fromkeys(SPLITS, N)) as writer:
        for split in SPLITS:
            writer.write(split, 0, np.arange(IMAGE_BYTES, dtype=np.uint8).reshape(N, *SHAPE), np.array([0, 1, 2, 1]))
    return path


def read_all(path: Path, kind: str = RAW) -> Header:
    with open_store(path, kind) as opened:
        for split in SPLITS:
            opened.labels(split)
            opened.images(split)
        return opened.header


def refused(path: Path, what: str) -> None:
    """`path` is called damaged because of `what`, a regular expression."""
    remedy = r"\. Make it again with `dvc repro`, or pull it again\. .*: run `privpipe doctor --fix --cache` first\."
    message = rf"(?s)^{re.escape(str(path))} is damaged: .*{what}.*{remedy}$"
    with pytest.raises(PrivpipeError, match=message):
        read_all(path)


def altered(path: Path, change: Change) -> Path:
    """A valid file to which `change` was done on purpose: its checksums fit what it holds then."""
    with h5py.File(plain(path), "r+") as file:
        change(file)
    return reseal(path)


def replacing(name: str, **dataset: Any) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **dataset)

    return change


def linking(name: str, link: object) -> Change:
    def change(file: h5py.File) -> None:
        file.move(name, "elsewhere")
        file[name] = link

    return change


@pytest.mark.parametrize("libver", ["earliest", "v110", "latest"])
def test_the_file_that_these_tests_damage_is_valid(tmp_path: Path, libver: str) -> None:
    assert read_all(plain(tmp_path / "x.h5", libver)) == read_all(ours(tmp_path / "y.h5"))


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "x.h5", tmp_path):
        message = rf"^{path} is missing\. Make it with `dvc repro`, or get it with `dvc pull`\.$"
        with pytest.raises(PrivpipeError, match=message):
            read_all(path)


@pytest.mark.parametrize("content", [b"data: 1\n", b"version https://git-lfs", b"privpipe checked file\nbytes "])
def test_what_is_no_file_of_ours(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.h5").write_bytes(content)
    refused(tmp_path / "x.h5", "its first 512 bytes are not those of a privpipe file")


@pytest.mark.parametrize("content", [b"", bytes(5000), b"\x89HDF\r\n\x1a\n"])
def test_what_has_no_checksums(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.h5").write_bytes(content)
    refused(tmp_path / "x.h5", "it has no checksums, so it is of privpipe's format version 1, was written by another")


def test_a_file_of_the_first_format_version(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs.update(ATTRIBUTES | {"format_version": 1})
    refused(tmp_path / "x.h5", "format version 1")


def test_checksums_around_what_is_no_hdf5(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(bytes(5000))
    seal(tmp_path / "x.h5")
    refused(tmp_path / "x.h5", "file signature not found")


@pytest.mark.parametrize("make", [ours, plain, lambda path: plain(path, "earliest")])
def test_a_file_cut_short_anywhere(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "x.h5")
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        if size < 512:
            refused(path, "(it has no checksums|its first 512 bytes are not|it has [0-9]+ bytes and was written)")
        else:
            refused(path, f"it has {size:,} bytes and was written with {len(whole):,}")
            seal(path)
            refused(path, "(truncated file|file signature not found)")


@pytest.mark.parametrize(("kind", "other"), [(RAW, PERTURBED), (PERTURBED, RAW), (RAW, "privpipe-x"), (RAW, "")])
def test_another_kind_of_file(tmp_path: Path, kind: str, other: str) -> None:
    path = altered(tmp_path / "x.h5", lambda file: file.attrs.__setitem__("format", np.bytes_(other)))
    message = rf"x\.h5 must be a {kind} file; its format is '{other}'\. Pass the file that the stage names\.$"
    with pytest.raises(PrivpipeError, match=message):
        read_all(path, kind)


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, -1, 2**62])
def test_another_version(tmp_path: Path, version: int) -> None:
    path = altered(tmp_path / "x.h5", lambda file: file.attrs.__setitem__("format_version", version))
    message = rf"x\.h5 has format version {version}; this privpipe reads version {FORMAT_VERSION}\. Make it again with "
    with pytest.raises(PrivpipeError, match=message):
        read_all(path)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_missing_attribute(tmp_path: Path, name: str) -> None:
    refused(altered(tmp_path / "x.h5", lambda file: file.attrs.__delitem__(name)), name)


WRONG_ATTRIBUTES = [
    # `bytes` of a number would take that many bytes of memory.
    *[(name, np.int64(2**62), "an attribute is int64") for name in ("format", "method", "scope", "class_names")],
    *[(name, "text", "an attribute is str_?; expected a string of fixed length") for name in ("format", "class_names")],
    ("method", h5py.Empty("S5"), "an attribute is Empty"),
    ("method", np.array([b"none", b"none"]), "an attribute is ndarray"),
    ("scope", np.bytes_(b"\xff\xfe"), "codec can't decode byte 0xff"),
    ("class_names", np.array([], "S1"), "0 class names"),
    ("class_names", np.full(10_001, b"a"), "10001 class names"),
    ("k", np.float64("inf"), "infinity"),
    ("k", np.float64("nan"), "NaN"),
    ("k", np.array([1, 2]), "Python scalars"),
    ("k", np.bytes_("one"), "invalid literal for int"),
    ("format_version", np.float64("inf"), "infinity"),
    ("image_range", np.array([np.nan, 1]), "image_range is nan, 1.0"),
    ("image_range", np.array([0, np.inf]), "image_range is 0.0, inf"),
    ("image_range", np.array([1.0, 1.0]), "image_range is 1.0, 1.0"),
    ("image_range", np.array([0.0, 1.0, 2.0]), "too many values"),
    ("image_range", 1.0, "not iterable"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG_ATTRIBUTES)
def test_a_wrong_attribute(tmp_path: Path, name: str, value: object, message: str) -> None:
    refused(altered(tmp_path / "x.h5", lambda file: file.attrs.__setitem__(name, value)), message)


def external(file: h5py.File) -> None:
    """Pixels that are another file's content: reading them would hand them on."""
    del file["train/images"]
    (Path(file.filename).parent / "secret").write_bytes(bytes(IMAGE_BYTES))
    file.create_dataset("train/images", (N, *SHAPE), "u1", external=[("secret", 0, IMAGE_BYTES)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((N, *SHAPE), "u1")
    layout[:] = h5py.VirtualSource("secret.h5", "images", (N, *SHAPE), "u1")
    del file["train/images"]
    file.create_virtual_dataset("train/images", layout)


IMAGES = np.zeros((N, *SHAPE), np.uint8)
LINK, LAYOUT = "is missing or a link to elsewhere", "is not stored contiguously in the file itself"
HOSTILE: dict[str, tuple[Change, str]] = {
    "external link to a split": (linking("train", h5py.ExternalLink("secret.h5", "/train")), f"train {LINK}"),
    "external link": (linking("val/images", h5py.ExternalLink("secret.h5", "/x")), f"val/images {LINK}"),
    "soft link": (linking("test/labels", h5py.SoftLink("/elsewhere")), f"test/labels {LINK}"),
    "soft link to itself": (linking("train", h5py.SoftLink("/train")), f"train {LINK}"),
    "missing split": (lambda file: file.__delitem__("test"), f"test {LINK}"),
    "missing labels": (lambda file: file.__delitem__("val/labels"), f"val/labels {LINK}"),
    "data set as a split": (replacing("train", data=IMAGES), f"train/images {LINK}"),
    "group as images": (lambda file: (file.__delitem__("train/images"), file.create_group("train/images")), LAYOUT),
    "external storage": (external, LAYOUT),
    "virtual": (virtual, LAYOUT),
    "compressed": (replacing("train/images", data=IMAGES, compression="gzip"), LAYOUT),
    "chunked": (replacing("train/images", data=IMAGES, chunks=(1, *SHAPE)), LAYOUT),
    "resizable": (replacing("train/labels", data=np.zeros(N, np.int64), maxshape=(None,)), LAYOUT),
    "float32": (replacing("train/images", data=IMAGES.astype("f4")), "types float32 and int64"),
    "big-endian float16": (replacing("train/images", data=IMAGES.astype(">f2")), "types >f2 and int64"),
    "int8": (replacing("val/images", data=IMAGES.astype("i1")), "types int8 and int64"),
    "compound": (replacing("train/images", data=np.zeros((N, *SHAPE), [("a", "u1")])), r"types \[\('a', 'u1'\)\]"),
    "int32 labels": (replacing("test/labels", data=np.zeros(N, np.int32)), "types uint8 and int32"),
    "text labels": (replacing("test/labels", data=np.full(N, b"1")), r"types uint8 and \|S1"),
    "fewer labels": (replacing("train/labels", data=np.zeros(N - 1, np.int64)), r"shapes \(4, 4, 4, 3\) and \(3,\)"),
    "labels of two axes": (replacing("train/labels", data=np.zeros((N, 1), np.int64)), r"and \(4, 1\); expected"),
    "a single label": (replacing("train/labels", data=np.int64(0)), r"and \(\); expected"),
    "images without colours": (replacing("val/images", data=IMAGES[..., 0]), r"shapes \(4, 4, 4\) and"),
    "images without rows": (replacing("val/images", data=IMAGES[:, :0]), r"shapes \(4, 0, 4, 3\) and"),
    "null images": (replacing("val/images", data=h5py.Empty("u1")), "unsupported operand"),
    "splits of two sizes": (replacing("val/images", data=IMAGES[:, :3]), "the splits differ in image shape or type"),
    "splits of two types": (replacing("val/images", data=IMAGES.astype("f2")), "the splits differ in image shape"),
    "label -1": (replacing("train/labels", data=np.array([0, 1, -1, 2])), r"train/labels has values outside 0\.\.2"),
    "label 3": (replacing("test/labels", data=np.array([0, 1, 3, 2])), r"test/labels has values outside 0\.\.2"),
}
HOSTILE["root as a split"] = (lambda file: (file.__delitem__("train"), file.__setitem__("train", file["/"])), LINK)


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_content(tmp_path: Path, change: Change, message: str) -> None:
    plain(tmp_path / "secret.h5")
    refused(altered(tmp_path / "x.h5", change), message)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("split", SPLITS)
def test_values_that_are_not_finite(tmp_path: Path, split: str, value: float) -> None:
    def change(file: h5py.File) -> None:
        for name in SPLITS:
            images = np.zeros((N, *SHAPE), np.float16)
            images[2, 1, 1, 1] = value if name == split else 0
            replacing(f"{name}/images", data=images)(file)

    refused(altered(tmp_path / "x.h5", change), rf"{split}/images has NaN or infinite values among rows 0\.\.3")


@pytest.mark.parametrize("row", range(N))
def test_the_rows_of_a_value_that_is_not_finite_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 4 * math.prod(SHAPE))  # two images
    monkeypatch.setattr(store, "CHECKED_VALUES", 5)

    def change(file: h5py.File) -> None:
        for name in SPLITS:
            images = np.full((N, *SHAPE), 65504, np.float16)  # the largest that is finite
            images[row, -1, -1, -1] = np.inf if name == "val" else -65504
            replacing(f"{name}/images", data=images)(file)

    first = row // 2 * 2
    where = rf"val/images has NaN or infinite values among rows {first}\.\.{first + 1}"
    refused(altered(tmp_path / "x.h5", change), where)


@pytest.mark.parametrize("shape", [(N, 2**20, 2**20, 3), (N, 2**31, 2**31, 1), (N, 2**16, 2**23, 2**23)])
def test_a_huge_declared_shape_is_refused_before_any_memory_is_taken(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """The sizes of the second and third wrap around 64 bits to 0."""

    def change(file: h5py.File) -> None:
        for split in SPLITS:
            del file[f"{split}/images"]
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file[split].id, b"images", h5py.h5t.NATIVE_UINT8, space)

    path = altered(tmp_path / "x.h5", change)
    tracemalloc.start()
    try:
        refused(path, "train is not stored completely")
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2**31, 2**31, 4), (2**32, 2**32, 1), (4096, 4097, 1)])
def test_empty_splits_of_huge_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    def change(file: h5py.File) -> None:
        for split in SPLITS:
            replacing(f"{split}/labels", shape=(0,), dtype="i8")(file)
            replacing(f"{split}/images", shape=(0, *shape), dtype="u1")(file)

    refused(altered(tmp_path / "x.h5", change), r"train has images of shape .*, more than 16,777,216 values each")


@pytest.mark.parametrize("rows", [100, 10**9, 2**40])
def test_more_rows_than_the_file_has_bytes(tmp_path: Path, rows: int) -> None:
    """All of the header agrees on a number of rows that the file is too short for."""
    path = plain(tmp_path / "x.h5", "earliest")
    with h5py.File(path, "r") as file:
        offsets = {(s, n): file[s][n].id.get_offset() for s in SPLITS for n in ("images", "labels")}
    content = path.read_bytes()
    changes = [((N, *SHAPE, N, *SHAPE), (rows, *SHAPE, rows, *SHAPE)), ((N, N), (rows, rows))]  # current, maximum
    for (_, name), offset in offsets.items():
        size = IMAGE_BYTES if name == "images" else LABEL_BYTES
        changes.append(((offset - 512, size), (offset - 512, size // N * rows)))  # HDF5 counts from its beginning
    for old, new in changes:
        found = content.count(struct.pack(f"<{len(old)}Q", *old))
        assert found, old
        content = content.replace(struct.pack(f"<{len(old)}Q", *old), struct.pack(f"<{len(new)}Q", *new))
    path.write_bytes(content)
    seal(path)
    refused(path, "")  # HDF5 finds it, in words that change with its version


FILES: dict[str, bytes] = {}
PLACES: dict[str, list[tuple[int, int]]] = {}


@pytest.fixture(scope="module", autouse=True)
def contents(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("valid") / "x.h5"
    for name, made in (("ours", ours), ("earliest", lambda path: plain(path, "earliest"))):
        FILES[name] = made(path).read_bytes()
        with path.open("rb") as file:
            PLACES[name] = check(file.fileno())


@pytest.mark.parametrize("which", ["ours", "earliest"])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_raises_nothing_but_a_privpipe_error(tmp_path: Path, which: str, data: st.DataObject) -> None:
    content = bytearray(FILES[which])
    byte = st.sampled_from([0, 1, 255]) | st.integers(0, 255)
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), byte), min_size=1, max_size=8)):
        content[place] = value
    (tmp_path / "x.h5").write_bytes(content)
    on_purpose = data.draw(st.booleans())
    if on_purpose:  # so that the damage reaches what comes after the comparison of checksums
        seal(tmp_path / "x.h5", PLACES[which])
    try:
        header = read_all(tmp_path / "x.h5")
    except PrivpipeError:
        return
    assert on_purpose or content == FILES[which]
    assert header.kind == RAW and header.shape == SHAPE and header.dtype == "uint8"
