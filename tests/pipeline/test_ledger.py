"""The table of finished models: every row is on disk at once, and a killed run loses at most half a row."""

import csv
import errno
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privpipe.errors import PrivpipeError
from privpipe.pipeline.ledger import Ledger, read_rows
from studies.paper.columns import COLUMNS

HEADER = ",".join(COLUMNS) + "\n"
NAMES = ["a" * 16, "b" * 16, "c" * 16]
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


def row(fingerprint: str, **values: Any) -> dict[str, Any]:
    """A row as `privpipe.pipeline.runner.run` gives it: numbers, text with a comma, and cells that are empty."""
    usual = {"group": "plain", "k": 3, "lr": 0.1 + 0.2, "val_accuracy": 1 / 3, "device": "GPU “µ”, 1", "status": "done"}
    return {**dict.fromkeys(COLUMNS), **usual, "fingerprint": fingerprint, **values}


def line(row: dict[str, Any]) -> str:
    """The row in the file, by the rules of RFC 4180."""
    cells = ["" if row[name] is None else str(row[name]) for name in COLUMNS]
    return ",".join(f'"{cell}"' if "," in cell else cell for cell in cells) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "plain.csv"


def test_every_row_is_on_disk_when_add_returns(path: Path) -> None:
    ledger = Ledger(path, COLUMNS, NAMES)
    expected = HEADER
    assert path.read_text() == expected
    for name in ("c" * 16, "a" * 16):
        ledger.add(row(name))
        expected += line(row(name))
        assert path.read_text() == expected
    assert ledger.missing == ["b" * 16]


def test_rows_are_in_the_order_of_the_grid_once_tidied(path: Path) -> None:
    ledger = Ledger(path, COLUMNS, NAMES)
    for name in reversed(NAMES):
        ledger.add(row(name))
    ledger.tidy()
    assert path.read_text() == HEADER + "".join(line(row(name)) for name in NAMES)
    assert list(path.parent.iterdir()) == [path]


def test_the_next_run_finds_what_was_added_without_tidying(path: Path) -> None:
    Ledger(path, COLUMNS, NAMES).add(row("b" * 16))
    ledger = Ledger(path, COLUMNS, NAMES)
    assert ledger.missing == ["a" * 16, "c" * 16]
    ledger.add(row("a" * 16))
    ledger.tidy()
    assert path.read_text() == HEADER + line(row("a" * 16)) + line(row("b" * 16))


def test_a_last_row_that_is_torn_anywhere_is_the_only_one_lost(path: Path) -> None:
    ledger = Ledger(path, COLUMNS, NAMES)
    for name in NAMES:
        ledger.add(row(name))
    whole, kept = path.read_bytes(), (HEADER + line(row(NAMES[0])) + line(row(NAMES[1]))).encode()
    assert whole.startswith(kept)
    for cut in range(len(kept), len(whole)):
        path.write_bytes(whole[:cut])
        ledger = Ledger(path, COLUMNS, NAMES)
        assert ledger.missing == NAMES[2:]
        assert path.read_bytes() == kept
        ledger.add(row(NAMES[2]))
        assert path.read_bytes() == whole


@pytest.mark.parametrize("cut", [0, 1, len(HEADER) - 1])
def test_a_torn_header_is_written_anew(path: Path, cut: int) -> None:
    path.parent.mkdir()
    path.write_text(HEADER[:cut])
    assert Ledger(path, COLUMNS, NAMES).missing == NAMES
    assert path.read_text() == HEADER


@pytest.mark.parametrize(
    "content",
    [
        b"group,method\nplain,none\n",
        (HEADER.replace("group,", "groups,") + line(row(NAMES[0]))).encode(),
        (",".join(reversed(COLUMNS)) + "\n" + line(row(NAMES[0]))).encode(),
        b"\n" + HEADER.encode() + line(row(NAMES[0])).encode(),
        b"\x89HDF\r\n\x1a\n\x00\xff\xfe\n",
        b"x" * 200_000 + b"\n",  # more than csv takes for one cell
        b'"' + HEADER.encode() + line(row(NAMES[0])).encode(),
    ],
    ids=["other", "renamed", "reordered", "shifted", "binary", "one long line", "open quote"],
)
def test_a_file_with_other_columns_is_started_anew(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert Ledger(path, COLUMNS, NAMES).missing == NAMES
    assert path.read_text() == HEADER


def test_rows_of_other_models_are_dropped(path: Path) -> None:
    ledger = Ledger(path, COLUMNS, NAMES)
    for name in NAMES:
        ledger.add(row(name))
    ledger = Ledger(path, COLUMNS, ["d" * 16, NAMES[2], NAMES[0]])
    assert ledger.missing == ["d" * 16]
    assert path.read_text() == HEADER + line(row(NAMES[2])) + line(row(NAMES[0]))


def test_a_row_with_too_few_or_too_many_cells_is_dropped(path: Path) -> None:
    Ledger(path, COLUMNS, NAMES).add(row(NAMES[1]))
    with path.open("a") as file:
        file.write(f"plain,none\n{line(row(NAMES[0]))[:-1]},\n\n")
    assert Ledger(path, COLUMNS, NAMES).missing == [NAMES[0], NAMES[2]]


@given(
    st.fixed_dictionaries(
        {
            "val_accuracy": st.floats() | st.none(),
            "lr": st.floats(0, 1),
            "k": st.integers(),
            "device": TEXTS,
            "group": TEXTS,
            "blocks_by_right_pixels": TEXTS,
        }
    )
)
def test_a_row_that_was_read_is_written_byte_for_byte_as_before(values: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.csv"
        Ledger(path, COLUMNS, NAMES).add(row(NAMES[0], **values))
        before = path.read_bytes()
        ledger = Ledger(path, COLUMNS, NAMES)
        assert path.read_bytes() == before
        ledger.tidy()
        assert path.read_bytes() == before
        (read,) = csv.DictReader(io.StringIO(before.decode(), newline=""))
        assert read == {name: "" if cell is None else str(cell) for name, cell in row(NAMES[0], **values).items()}


@pytest.mark.parametrize("forbidden", [0o555], ids=["read-only"], indirect=True)
def test_a_folder_that_cannot_be_written_is_told(forbidden: Path) -> None:
    path = forbidden / "plain.csv"
    with pytest.raises(PrivpipeError) as caught:
        Ledger(path, COLUMNS, NAMES)
    assert str(caught.value) == f"cannot write {path}: Permission denied. Check the folder and its permissions."


def test_a_table_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match=rf"cannot read {tmp_path}: Is a directory. Check its permissions."):
        Ledger(tmp_path, COLUMNS, NAMES)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_told_and_the_row_does_not_count(path: Path) -> None:
    ledger = Ledger(path, COLUMNS, NAMES)
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(PrivpipeError, match=f"no space left while writing {path}; nothing was changed") as caught:
        ledger.add(row(NAMES[0]))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert ledger.missing == NAMES


def test_lists_and_dictionaries_are_cells_of_json(path: Path) -> None:
    """Also where they are larger than csv takes by itself."""
    attempts = [{"attack": "as_is", "ssim": 1 / 3, "key": None, "why": 'none, "yet"'}] * 4000
    Ledger(path, COLUMNS, NAMES).add(row(NAMES[0], group=attempts))
    (cells,) = read_rows(path, COLUMNS)
    assert len(cells[0]) > 200_000
    assert json.loads(cells[0]) == attempts
    assert Ledger(path, COLUMNS, NAMES).missing == NAMES[1:]


def test_figures_that_are_no_column_are_left_out(path: Path) -> None:
    Ledger(path, COLUMNS, NAMES).add({**row(NAMES[0]), "val_loss": 1.5})
    assert path.read_text() == HEADER + line(row(NAMES[0]))
