"""No failure, full disk or kill leaves half a file, and each says what to do."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from privpipe.errors import PrivpipeError, WriteError
from privpipe.files import atomic_path, leftovers, write_csv, write_error, write_json, write_text, writer_is_dead


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file with old content, alone in its folder."""
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def expect_untouched(path: Path) -> None:
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_appears_when_the_block_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic_path(path) as partial:
        assert re.fullmatch(rf"\.file\.txt\.{os.getpid()}-[0-9a-f]{{8}}\.partial", partial.name)
        assert partial.parent == path.parent and partial.read_bytes() == b""
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_an_old_file_is_replaced_and_not_written_into(old: Path) -> None:
    """DVC's outputs may be read-only links to its cache: the cache must not change."""
    link = old.with_name("cache")
    link.hardlink_to(old)
    old.chmod(0o444)
    write_text(old, "new")
    assert old.read_text() == "new"
    assert link.read_text() == "old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, PrivpipeError, SystemExit])
def test_any_error_leaves_the_old_file_and_passes_through(old: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with atomic_path(old) as partial:
            partial.write_text("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        write()
    expect_untouched(old)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_and_leaves_the_old_file(old: Path, number: int) -> None:
    def write() -> None:
        with atomic_path(old) as partial:
            partial.write_text("half")
            raise OSError(number, os.strerror(number))

    message = r"^no space left while writing .*file\.txt; nothing was changed\. Free some space and run the command"
    with pytest.raises(PrivpipeError, match=message):
        write()
    expect_untouched(old)


KILLED = """
import os, signal, sys
from privpipe.files import atomic_path
with atomic_path(sys.argv[1]) as partial:
    partial.write_text("half of a long")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_the_old_file_and_the_next_run_removes_its_remains(old: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(old)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert old.read_text() == "old"
    (left,) = leftovers(old.parent)
    assert left.read_text() == "half of a long" and writer_is_dead(left)
    write_text(old, "new")
    assert old.read_text() == "new"
    assert list(old.parent.iterdir()) == [old]


def test_a_folder_without_permission(forbidden: Path) -> None:
    message = r"^cannot write .*file\.txt: Permission denied\. Check the folder and its permissions\.$"
    with pytest.raises(PrivpipeError, match=message):
        write_text(forbidden / "file.txt", "new")


def test_a_file_where_the_folder_should_be(old: Path) -> None:
    message = r"^cannot write .*file\.txt/x\.txt: File exists\. Check the folder and its permissions\.$"
    with pytest.raises(PrivpipeError, match=message):
        write_text(old / "x.txt", "new")
    expect_untouched(old)


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(PrivpipeError, match=r"^cannot write .*out: Is a directory\. Check the folder"):
        write_text(tmp_path / "out", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_block_that_writes_nothing_is_an_error(old: Path) -> None:
    def write() -> None:
        with atomic_path(old):
            pass

    with pytest.raises(WriteError, match=r"^cannot write .*file\.txt: it would be empty\. Nothing was changed\.$"):
        write()
    expect_untouched(old)


def test_an_error_without_a_system_text_is_shown_as_it_is() -> None:
    error = write_error(Path("x"), OSError("the net is down"))
    assert str(error) == "cannot write x: the net is down. Check the folder and its permissions."


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "é\n×\n")
    assert (tmp_path / "x").read_bytes() == b"\xc3\xa9\n\xc3\x97\n"


def test_json_content(tmp_path: Path) -> None:
    values = {"accuracy": 0.1 + 0.2, "n": 2**60, "name": "é", "none": None}
    write_json(tmp_path / "x.json", values)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == values
    assert list(json.loads(text)) == list(values)
    assert text.endswith("\n}\n") and '\n  "n": ' in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, -float("inf")], {"x": float("nan")}])
def test_json_refuses_what_is_no_number(old: Path, value: object) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        write_json(old, {"loss": value})
    expect_untouched(old)


def test_csv_content(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", ["epoch", "name"], ((i, f'{i}, "é"') for i in range(2)))
    assert (tmp_path / "x.csv").read_bytes() == 'epoch,name\n0,"0, ""é"""\n1,"1, ""é"""\n'.encode()


def test_csv_rows_that_fail_leave_the_old_file(old: Path) -> None:
    def rows() -> Iterator[tuple[int]]:
        yield (1,)
        raise ValueError("no second row")

    with pytest.raises(ValueError, match="no second row"):
        write_csv(old, ["x"], rows())
    expect_untouched(old)
