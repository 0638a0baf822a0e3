"""The finished models of one group: a table on disk that grows by a row as each one ends."""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from privpipe.errors import PrivpipeError
from privpipe.files import write_csv, write_error
from privpipe.report.study_columns import COLUMNS, Row


class Ledger:
    """Rows by the fingerprint of their model, in memory as on disk.

    A killed run leaves every row that was added, and at most one half row, which is dropped.

    Args:
        path: a CSV file with `COLUMNS`; made anew where there is none, or one with other columns.
        wanted: the fingerprints of the models in the order of the grid. Other rows are dropped: they are of
            models that were taken out, or of other images, parameters or code.

    Raises:
        PrivpipeError: the file cannot be read or written.
    """

    def __init__(self, path: str | Path, wanted: Sequence[str]):
        self.path, self.wanted = Path(path), list(wanted)
        found = {row["fingerprint"]: row for row in _read(self.path)}
        self.rows: dict[str, Row] = {name: found[name] for name in self.wanted if name in found}
        self._write()

    @property
    def missing(self) -> list[str]:
        """The fingerprints of the models that are still to be run, in order."""
        return [name for name in self.wanted if name not in self.rows]

    def add(self, row: Row) -> None:
        """Append a row; it is on disk when this returns."""
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(_cells(row))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self.path, error) from error
        self.rows[row["fingerprint"]] = row

    def close(self) -> None:
        """Bring the rows into the order of the grid, whatever order they ended in."""
        self._write()

    def _write(self) -> None:
        write_csv(self.path, COLUMNS, (_cells(self.rows[name]) for name in self.wanted if name in self.rows))


def all_rows(folder: str | Path, groups: Sequence[str]) -> Iterator[list[object]]:
    """The cells of the rows of all groups, those of files `<group>.csv` that are there."""
    for group in groups:
        for row in _read(Path(folder) / f"{group}.csv"):
            yield _cells(row)


def _cells(row: Row) -> list[object]:
    return [row[name] for name in COLUMNS]


def _read(path: Path) -> list[Row]:
    try:
        # A torn end may cut a character in two.
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PrivpipeError(f"cannot read {path}: {error.strerror}. Check its permissions.") from error
    whole = [line for line in lines if line.endswith("\n")]
    try:
        table = list(csv.reader(whole))
    except csv.Error:  # a cell of over 128 KB: some other file
        return []
    if not table or tuple(table[0]) != COLUMNS:
        return []
    return [dict(zip(COLUMNS, cells, strict=True)) for cells in table[1:] if len(cells) == len(COLUMNS)]
