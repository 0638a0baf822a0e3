"""What a crafted archive may cost: work is counted, not timed, and grows with the size of the archive at most."""

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_archive import binary_members, expect_batches, python_members, tar_bytes, write

from privpipe.data import archive, opcodes
from privpipe.data.archive import read_archive
from privpipe.errors import PrivpipeError


def header(kind: bytes, content: bytes, name: str = "x") -> bytes:
    """A member of a tar, blocks of 512 bytes."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def write_tar(path: Path, *members: bytes) -> Path:
    path.write_bytes(gzip.compress(b"".join(members) + bytes(1024), 1))
    return path


@pytest.fixture
def headers_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every header that is parsed."""
    read: list[int] = []
    original = tarfile.TarInfo.frombuf

    def count(*arguments: object) -> tarfile.TarInfo:
        read.append(1)
        return original(*arguments)

    monkeypatch.setattr(tarfile.TarInfo, "frombuf", count)
    return read


def test_extended_headers_count_as_members(tmp_path: Path, headers_read: list[int]) -> None:
    """tarfile does not count them, and hands what each global one says on to every member after it."""
    record = b"30 some.key0000=0123456789abc\n"
    piece = header(tarfile.XGLTYPE, record) * 100 + header(tarfile.REGTYPE, b"")
    path = write_tar(tmp_path / "a.tar.gz", *[piece] * 100)
    with pytest.raises(PrivpipeError, match="has more than 1000 members: not a CIFAR-10 archive"):
        read_archive(path)
    assert len(headers_read) <= archive.MAX_MEMBERS + 1


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.SOLARIS_XHDTYPE])
def test_a_large_extended_header_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    """tarfile searches digits in it at a cost of the square of their number (CVE-2024-6232)."""
    path = write_tar(tmp_path / "a.tar.gz", header(kind, b"1" * 70_000), header(tarfile.REGTYPE, b""))
    message = (
        r"a\.tar\.gz is refused: it has a header of 70,000 bytes, more than 64 KiB\. Use an archive that you trust"
    )
    with pytest.raises(PrivpipeError, match=message):
        read_archive(path)


def test_a_map_of_a_sparse_file_is_refused(tmp_path: Path) -> None:
    sparse = header(tarfile.XHDTYPE, b"22 GNU.sparse.major=1\n") + header(tarfile.REGTYPE, b"1000000000\n")
    with pytest.raises(PrivpipeError, match=r"is refused: it holds a sparse file"):
        read_archive(write_tar(tmp_path / "a.tar.gz", sparse))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_honest_archives_of_every_form_are_read(tmp_path: Path, form: int) -> None:
    for members in (python_members(), binary_members()):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(content), 1.5  # a fraction of a second: an extended header in pax
                tar.addfile(info, io.BytesIO(content))
            long = tarfile.TarInfo(f"{next(iter(members)).split('/')[0]}/{'n' * (120 if form != 0 else 60)}")
            tar.addfile(long)
        (tmp_path / "a.tar.gz").write_bytes(gzip.compress(buffer.getvalue(), 1))
        expect_batches(tmp_path / "a.tar.gz")


def test_an_archive_without_the_blocks_at_its_end_is_read(tmp_path: Path) -> None:
    whole = tar_bytes(binary_members()).rstrip(b"\0")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(whole + bytes(-len(whole) % 512), 1))
    expect_batches(tmp_path / "a.tar.gz")


def with_batch(path: Path, blob: bytes) -> Path:
    return write(path, {**python_members(), "cifar-10-batches-py/data_batch_3": blob})


DEEP = (
    b"\x80\x02}("
    + b")"
    + b"q\x00h\x00h\x00\x86"
    + b"".join(b"q%ch%ch%c\x86" % (i, i, i) for i in range(1, 22))
    + b"K\x01u."
)
COLLIDING = pickle.dumps({i * (2**61 - 1): 0 for i in range(1, 2000)}, protocol=2)


@pytest.mark.parametrize(
    ("blob", "what"),
    [
        (DEEP, "holds a dictionary with keys that are no text"),
        (COLLIDING, "holds a dictionary with keys that are no text"),
        (b"\x80\x02}I1\nI2\ns.", "holds a dictionary with keys that are no text"),
        (b"\x80\x02(I1\nI2\nd.", "holds a dictionary with keys that are no text"),
        (b"\x80\x04\x8f(I1\n\x90.", "uses EMPTY_SET"),
        (b"\x80\x04(I1\n\x91.", "uses FROZENSET"),
        (b"\x80\x02)2\x86.", "uses DUP"),
    ],
    ids=["nested tuples", "integers of one hash", "item", "dict", "set", "frozenset", "dup"],
)
def test_pickles_whose_cost_explodes_are_refused(tmp_path: Path, blob: bytes, what: str) -> None:
    with pytest.raises(PrivpipeError, match=rf"data_batch_3 in .* is refused: the pickle {what}"):
        read_archive(with_batch(tmp_path / "a.tar.gz", blob))


def test_the_steps_of_a_pickle_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcodes, "MAX_OPCODES", 200)
    with pytest.raises(PrivpipeError, match="the pickle holds more than 200 objects and steps"):
        read_archive(with_batch(tmp_path / "a.tar.gz", b"\x80\x02](" + b"K\x01" * 1000 + b"e."))


def test_a_deep_stack_costs_no_more_than_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mark is searched from the top: with all below it, n marks on n objects would cost n squared."""

    class Counted(list):
        looked = 0

        def __getitem__(self, place: object) -> object:
            if isinstance(place, int):
                Counted.looked += 1
            return super().__getitem__(place)

    stack, memo = Counted(), {}
    count = 2000
    for opcode, argument, _ in opcodes.pickletools.genops(b"K\x01" * count + b"(t0" * count + b"."):
        opcodes._step(opcode, argument, stack, memo)
    assert Counted.looked < 10 * count


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_full_batch_stays_far_below_the_limits(protocol: int) -> None:
    batch = {
        b"labels": list(range(10)) * 1000,
        b"data": np.zeros((10_000, 3072), np.uint8),
        b"filenames": [b"image_%d.png" % number for number in range(10_000)],
    }
    content = pickle.dumps(batch, protocol)
    opcodes.check_opcodes(content)
    assert sum(1 for _ in opcodes.pickletools.genops(content)) < opcodes.MAX_OPCODES / 8
