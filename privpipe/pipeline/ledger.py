"""The finished experiments of a sweep: a table on disk that grows by a row as each one ends."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from privpipe.errors import PrivpipeError
from privpipe.files import write_csv, write_error

CELL = 1 << 24  # characters of a cell, at most: one may hold all attacks on an experiment; csv's own limit is 128 KB


class Ledger:
    """Rows by the fingerprint of their experiment, in memory as on disk.

    A killed run leaves every row that was added, and at most one half row, which is dropped.

    Args:
        path: a CSV file with `columns`; made anew where there is none, or one with other columns.
        columns: of the table, `fingerprint` among them. A cell is text, a number, empty for None, or JSON for a list or
            a dictionary.
        wanted: the fingerprints of the experiments in the order of the grid. Other rows are dropped: they are of
            experiments that were taken out, or of other inputs, parameters or code.

    Raises:
        PrivpipeError: the file cannot be read or written.
    """

    def __init__(self, path: str | Path, columns: Sequence[str], wanted: Sequence[str]):
        self.path, self.columns, self.wanted = Path(path), tuple(columns), list(wanted)
        place = self.columns.index("fingerprint")
        kept = {cells[place]: cells for cells in read_rows(self.path, self.columns)}
        self.rows: dict[str, list[Any]] = {name: kept[name] for name in self.wanted if name in kept}
        self.tidy()

    @property
    def missing(self) -> list[str]:
        """The fingerprints of the experiments that are still to be run, in order."""
        return [name for name in self.wanted if name not in self.rows]

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; it is on disk when this returns. Figures that are no column are left out."""
        cells = [_cell(row.get(name)) for name in self.columns]
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(cells)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self.path, error) from error
        self.rows[row["fingerprint"]] = cells

    def tidy(self) -> None:
        """Bring the rows into the order of the grid, whatever order they ended in."""
        write_csv(self.path, self.columns, (self.rows[name] for name in self.wanted if name in self.rows))


def _cell(value: Any) -> Any:
    return json.dumps(value, allow_nan=False) if isinstance(value, dict | list) else value


def read_rows(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """The cells of the whole rows of a table; none where there is no file, or one with other columns.

    Raises:
        PrivpipeError: the file cannot be read.
    """
    try:
        # A torn end may cut a character in two.
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PrivpipeError(f"cannot read {path}: {error.strerror}. Check its permissions.") from error
    whole = [line for line in lines if line.endswith("\n")]
    csv.field_size_limit(CELL)
    try:
        table = list(csv.reader(whole))
    except csv.Error:  # some other file
        return []
    if not table or table[0] != list(columns):
        return []
    return [cells for cells in table[1:] if len(cells) == len(columns)]
