"""Both archive layouts are read pixel for pixel, and no archive, however hostile or damaged, does anything but fail."""

import gzip
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privpipe.data import archive
from privpipe.data.archive import read_archive
from privpipe.errors import PrivpipeError

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
ROWS = {"data_batch_1": 3, "data_batch_2": 2, "data_batch_3": 1, "data_batch_4": 2, "data_batch_5": 1, "test_batch": 4}


def make_batches() -> dict[str, tuple[np.ndarray, list[int]]]:
    """(n, 32, 32, 3) uint8 images and labels for each batch."""
    rng = np.random.default_rng(7)
    return {
        name: (rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n).tolist())
        for name, n in ROWS.items()
    }


def planes(images: np.ndarray) -> np.ndarray:
    """The images as the archive stores them, (n, 3072), put together pixel by pixel."""
    rows = np.empty((len(images), 3072), np.uint8)
    for i, image in enumerate(images):
        for colour in range(3):
            for y in range(32):
                rows[i, colour * 1024 + y * 32 : colour * 1024 + y * 32 + 32] = image[y, :, colour]
    return rows


def python2(value: object) -> bytes:
    """The opcodes that Python 2's cPickle writes for `value` in protocol 2 (no memo): all strings are bytes."""
    match value:
        case bytes():
            return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value
        case int():
            return b"J" + struct.pack("<i", value)
        case list():
            return b"](" + b"".join(map(python2, value)) + b"e"
        case dict():
            return b"}(" + b"".join(python2(x) for item in value.items() for x in item) + b"u"
        case np.ndarray():
            dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            shape = b"".join(map(python2, value.shape)) + b"\x86"
            empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            return empty + b"(K\x01" + shape + dtype + b"\x89" + python2(value.tobytes()) + b"tb"
    raise TypeError(type(value))


def python_members(how: str = "python2", **changes: object) -> dict[str, bytes]:
    """The members of a python archive; `changes` replace keys of data_batch_3."""
    files: dict[str, dict] = {}
    for name, (images, labels) in make_batches().items():
        files[name] = {b"batch_label": name.encode(), b"labels": labels, b"data": planes(images), b"filenames": [b"a"]}
    files["data_batch_3"] |= {key.encode(): value for key, value in changes.items()}
    if how == "python2":
        files["batches.meta"] = {b"num_cases_per_batch": 3, b"label_names": [n.encode() for n in NAMES]}
        blobs = {name: b"\x80\x02" + python2(content) + b"." for name, content in files.items()}
    else:
        files["batches.meta"] = {"num_cases_per_batch": 3, "label_names": list(NAMES)}
        blobs = {name: pickle.dumps(content, protocol=int(how)) for name, content in files.items()}
    return {f"cifar-10-batches-py/{name}": blob for name, blob in blobs.items()}


def binary_members() -> dict[str, bytes]:
    members = {"cifar-10-batches-bin/batches.meta.txt": "\n".join((*NAMES, "", "")).encode()}
    for name, (images, labels) in make_batches().items():
        rows = b"".join(bytes([label]) + row.tobytes() for row, label in zip(planes(images), labels, strict=True))
        members[f"cifar-10-batches-bin/{name}.bin"] = rows
    return members


def tar_bytes(members: dict[str, bytes], *extra: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo(next(iter(members)).split("/")[0])
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info, content in extra:
            info.size = info.size or len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write(path: Path, members: dict[str, bytes], *extra: tuple[tarfile.TarInfo, bytes]) -> Path:
    path.write_bytes(gzip.compress(tar_bytes(members, *extra), 1))
    return path


def expect_batches(path: Path) -> None:
    """`path` holds what `make_batches` made."""
    batches = make_batches()
    train, test = read_archive(path)
    np.testing.assert_array_equal(train.images, np.concatenate([batches[n][0] for n in BATCHES[:5]]))
    assert train.labels.tolist() == [label for n in BATCHES[:5] for label in batches[n][1]]
    np.testing.assert_array_equal(test.images, batches["test_batch"][0])
    assert test.labels.tolist() == batches["test_batch"][1]
    for part in (train, test):
        assert part.images.dtype == np.uint8
        assert part.images.flags.c_contiguous
        assert part.labels.dtype == np.int64
        assert part.class_names == NAMES


def test_the_python2_writer_of_these_tests_is_read_by_pickle_itself() -> None:
    blob = python_members()["cifar-10-batches-py/test_batch"].replace(b"numpy.core", b"numpy._core")
    images, labels = make_batches()["test_batch"]
    values = pickle.loads(blob, encoding="bytes")
    np.testing.assert_array_equal(values[b"data"], planes(images))
    assert values[b"labels"] == labels


@pytest.mark.parametrize("how", ["python2", "0", "1", "2", "4"])
def test_python_archive_pixel_for_pixel(tmp_path: Path, how: str) -> None:
    expect_batches(write(tmp_path / "a.tar.gz", python_members(how)))


def test_binary_archive_pixel_for_pixel(tmp_path: Path) -> None:
    expect_batches(write(tmp_path / "a.tar.gz", binary_members()))


def test_batches_come_in_their_numbers_order_whatever_the_archives_order(tmp_path: Path) -> None:
    members = python_members()
    expect_batches(write(tmp_path / "a.tar.gz", {f"./{name}": members[name] for name in sorted(members, reverse=True)}))


def test_other_members_are_passed_over(tmp_path: Path) -> None:
    link = tarfile.TarInfo("cifar-10-batches-py/readme.html")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    expect_batches(write(tmp_path / "a.tar.gz", python_members(), (link, b"")))


def test_fortran_order_is_honoured(tmp_path: Path) -> None:
    rows = np.asfortranarray(planes(make_batches()["data_batch_1"][0]))
    path = write(tmp_path / "a.tar.gz", python_members("2", data=rows, labels=[1, 2, 3]))
    train, _ = read_archive(path)
    np.testing.assert_array_equal(train.images[5:8], make_batches()["data_batch_1"][0])


class Call:
    """Pickled as a call of `function` with `arguments`."""

    def __init__(self, function: object, *arguments: object):
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple]:
        return self.call


@pytest.mark.parametrize("protocol", ["0", "2", "4"])
def test_a_hostile_pickle_is_refused_by_name_and_not_run(tmp_path: Path, protocol: str) -> None:
    proof = tmp_path / "proof"
    path = write(tmp_path / "a.tar.gz", python_members(protocol, filenames=Call(os.system, f"touch {proof}")))
    with pytest.raises(PrivpipeError, match=r"data_batch_3 in .*a\.tar\.gz is refused: the pickle asks for posix\.sys"):
        read_archive(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    "blob",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0ecore.os.system\x93.",
    ],
)
def test_every_way_to_name_a_global_goes_through_the_allow_list(tmp_path: Path, blob: bytes) -> None:
    members = python_members() | {"cifar-10-batches-py/batches.meta": blob}
    with pytest.raises(PrivpipeError, match="is refused: the pickle asks for "):
        read_archive(write(tmp_path / "a.tar.gz", members))


@pytest.mark.parametrize(
    "blob",
    [
        b"c_codecs\nencode\n}S'x'\nI1\nsb.",  # sets an attribute of an allowed function
        b"cnumpy\nndarray\n)R.",  # calls the class itself
        b"cnumpy\nndarray\n)\x81.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        b"\x82\x01.",  # an extension code
        b"S'id'\nQ.",  # a persistent id
        b"I" + b"9" * 5000 + b"\n.",
        b"",
    ],
)
def test_the_allowed_globals_cannot_be_turned_to_something_else(tmp_path: Path, blob: bytes) -> None:
    members = python_members() | {"cifar-10-batches-py/batches.meta": blob}
    with pytest.raises(PrivpipeError, match=r"batches\.meta in .* cannot be unpickled"):
        read_archive(write(tmp_path / "a.tar.gz", members))


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"Nr\xff\xff\xff\x7f.", "stores object number 2,147,483,647"),
        (b"Np99999999999\n.", "stores object number 99,999,999,999"),
        (b"}()" + b"\x85" * 100_000 + b"Nu.", "holds more than 25,000 tuples"),
    ],
)
def test_pickles_that_exhaust_memory_or_the_stack_are_refused(tmp_path: Path, blob: bytes, message: str) -> None:
    members = python_members() | {"cifar-10-batches-py/batches.meta": blob}
    with pytest.raises(PrivpipeError, match=message):
        read_archive(write(tmp_path / "a.tar.gz", members))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros((1, 3071), np.uint8)}, "has no 'data' array of uint8 with 3072 columns"),
        ({"data": np.zeros((1, 3, 1024), np.uint8)}, "do not make the rows and columns"),
        ({"data": np.zeros(3072, np.uint8)}, "do not make the rows and columns"),
        ({"data": np.zeros((1, 3072), np.int8)}, "an array is not of uint8"),
        ({"data": np.zeros((1, 3072), np.float64)}, "an array is not of uint8"),
        ({"data": np.zeros((1, 3072), object)}, "an array is not of uint8"),
        ({"filenames": np.array([{}], object)}, "an array is not of uint8"),
        ({"data": None}, "has no 'data' array"),
        ({"labels": [10]}, "has no 'labels' list of integers from 0 to 9"),
        ({"labels": [True]}, "has no 'labels' list"),
        ({"labels": (1,)}, "has no 'labels' list"),
        ({"labels": [1, 2]}, "has 2 labels for 1 images"),
    ],
)
def test_wrong_contents_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write(tmp_path / "a.tar.gz", python_members("2", **changes))
    with pytest.raises(PrivpipeError, match=f"(?s)data_batch_3 in .*a.tar.gz.*({message})"):
        read_archive(path)


def test_an_array_that_is_empty_or_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    members = python_members(data=np.zeros((0, 3072), np.uint8), labels=[])
    with pytest.raises(PrivpipeError, match=r"data_batch_3 in .* has no 'data' array"):
        read_archive(write(tmp_path / "a.tar.gz", members))
    members = python_members()
    name = "cifar-10-batches-py/data_batch_3"
    shape = python2(1) + python2(3072)
    members[name] = members[name].replace(shape, python2(2**31 - 1) + python2(3072))
    with pytest.raises(PrivpipeError, match="3,072 bytes do not make the rows and columns"):
        read_archive(write(tmp_path / "a.tar.gz", members))


@pytest.mark.parametrize(
    "names", [NAMES[:9], (*NAMES, "cow"), (*NAMES[:9], "ship"), (*NAMES[:9], 3), (*NAMES[:9], b"\xff"), None]
)
def test_wrong_class_names_are_refused(tmp_path: Path, names: object) -> None:
    meta = {"label_names": list(names) if isinstance(names, tuple) else names}
    members = python_members("2") | {"cifar-10-batches-py/batches.meta": pickle.dumps(meta, 2)}
    with pytest.raises(PrivpipeError, match=r"batches\.meta in .* does not name 10 different classes"):
        read_archive(write(tmp_path / "a.tar.gz", members))


@pytest.mark.parametrize("content", [b"", bytes(3072), b"\x0a" + bytes(3072)])
def test_wrong_binary_batches_are_named(tmp_path: Path, content: bytes) -> None:
    members = binary_members() | {"cifar-10-batches-bin/data_batch_2.bin": content}
    message = "label 10, not one of 0 to 9" if len(content) == 3073 else "bytes, not a multiple of 3,073"
    with pytest.raises(PrivpipeError, match=rf"data_batch_2\.bin in .* has .*{message}"):
        read_archive(write(tmp_path / "a.tar.gz", members))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "cifar-10-batches-py/../../evil", "//evil"])
def test_a_path_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PrivpipeError, match=f"member '{name}' leads out of the archive's folder"):
        read_archive(write(tmp_path / "a.tar.gz", python_members(), (tarfile.TarInfo(name), b"x")))
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_an_expected_member_must_be_a_regular_file(tmp_path: Path, kind: bytes) -> None:
    members = python_members()
    info = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    del members[info.name]
    info.type, info.linkname = kind, "cifar-10-batches-py/data_batch_1"
    with pytest.raises(PrivpipeError, match="'cifar-10-batches-py/test_batch' is not a regular file"):
        read_archive(write(tmp_path / "a.tar.gz", members, (info, b"")))


@pytest.mark.parametrize("name", ["cifar-10-batches-py/test_batch", "./cifar-10-batches-py//test_batch"])
def test_a_member_that_appears_twice_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PrivpipeError, match="test_batch' appears twice"):
        read_archive(write(tmp_path / "a.tar.gz", python_members(), (tarfile.TarInfo(name), b"x")))


def test_sizes_and_numbers_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = python_members()
    path = tmp_path / "a.tar.gz"
    huge = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    huge.size = (64 << 20) + 1
    del members[huge.name]
    with pytest.raises(PrivpipeError, match="test_batch' has 67,108,865 bytes, more than 64 MiB"):
        read_archive(write(path, members, (huge, bytes(huge.size))))
    monkeypatch.setattr(archive, "MAX_MEMBERS", 20)
    with pytest.raises(PrivpipeError, match="has more than 20 members"):
        read_archive(write(path, {f"x/{i}": b"" for i in range(30)}))


def test_a_small_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    mebibyte = gzip.compress(bytes(1 << 20))  # 1 KiB; gzip streams may be joined end to end
    path = write(tmp_path / "a.tar.gz", python_members())
    path.write_bytes(path.read_bytes() + mebibyte * 600)
    with pytest.raises(PrivpipeError, match=r"a\.tar\.gz unpacks to more than 512 MiB"):
        read_archive(path)


def test_a_truncated_archive_is_damaged_wherever_it_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", python_members())
    whole = path.read_bytes()
    for size in [0, 1, 5, 100, 1000, len(whole) // 3, len(whole) // 2, len(whole) - 9, len(whole) - 8, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(
            PrivpipeError, match=r"(cannot unpack .*|lacks .*|neither .*)(remove .* and run again|Give)"
        ):
            read_archive(path)


def test_a_changed_byte_or_a_truncated_tar_inside_a_whole_gzip_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    plain = tar_bytes(binary_members())
    changed = gzip.compress(plain[:20_000] + b"?" + plain[20_001:], 0)
    path.write_bytes(changed[:-8] + gzip.compress(plain, 0)[-8:])
    with pytest.raises(PrivpipeError, match=r"cannot unpack .*CRC check failed.*remove .* and run again"):
        read_archive(path)
    for size in [512, 1024, 1500, 5000, 20_000, 30_000]:
        path.write_bytes(gzip.compress(plain[:size], 1))
        with pytest.raises(PrivpipeError, match=r"remove .* and run again|holds neither"):
            read_archive(path)


def test_what_is_not_an_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with pytest.raises(PrivpipeError, match=r"cannot read .*a\.tar\.gz: No such file or directory"):
        read_archive(path)
    path.write_bytes(b"<html>please log in</html>")
    with pytest.raises(PrivpipeError, match=r"cannot unpack .*Not a gzipped file"):
        read_archive(path)
    with pytest.raises(PrivpipeError, match="holds neither of cifar-10-batches-py/ and cifar-10-batches-bin/"):
        read_archive(write(path, {"cifar-100-python/train": b"x"}))
    with pytest.raises(PrivpipeError, match="holds both of cifar-10-batches-py/ and cifar-10-batches-bin/"):
        read_archive(write(path, binary_members() | python_members()))


@pytest.mark.parametrize("missing", [*BATCHES, "batches.meta"])
def test_a_missing_member_is_named(tmp_path: Path, missing: str) -> None:
    members = python_members()
    del members[f"cifar-10-batches-py/{missing}"]
    with pytest.raises(PrivpipeError, match=f"a.tar.gz lacks {missing}"):
        read_archive(write(tmp_path / "a.tar.gz", members))


def mutated(content: bytes, data: st.DataObject) -> bytes:
    """`content` with a few bytes replaced, and sometimes cut; most changes near the start, where the structure is."""
    changed = bytearray(content)
    near = st.integers(0, min(200, len(content) - 1)) | st.integers(0, len(content) - 1)
    for place, byte in data.draw(st.lists(st.tuples(near, st.integers(0, 255)), min_size=1, max_size=6)):
        changed[place] = byte
    return bytes(changed[: data.draw(near | st.just(len(content)))])


PYTHON2, PYTHON3, BINARY = python_members(), python_members("2"), binary_members()


@pytest.mark.parametrize("layer", ["gzip", "tar", "pickle"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_archives_raise_nothing_but_privpipe_errors(tmp_path: Path, layer: str, data: st.DataObject) -> None:
    members = dict(data.draw(st.sampled_from([PYTHON2, PYTHON3, BINARY])))
    if layer == "pickle":
        name = data.draw(st.sampled_from(sorted(members)))
        members[name] = mutated(members[name], data)
    content = tar_bytes(members)
    content = gzip.compress(mutated(content, data) if layer == "tar" else content, 1)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(mutated(content, data) if layer == "gzip" else content)
    try:
        train, test = read_archive(path)
    except PrivpipeError:
        return
    for part in (train, test):
        assert part.images.shape == (len(part), 32, 32, 3)
        assert part.images.dtype == np.uint8
        assert set(part.labels.tolist()) <= set(range(10))
        assert len(part.class_names) == 10
