"""Images that belong together, such as all those of one patient: they stay on one side of the split."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from privpipe.data.places import given_path
from privpipe.data.split import Rows
from privpipe.errors import PrivpipeError

FOLDERS: Final = "folders"
COLUMNS = ("file", "class", "group")
SHOWN = 5  # rows named in an error
Groups = Literal["folders"] | Path | None


@dataclass(frozen=True)
class Row:
    """What a table says of an image."""

    label: str
    group: str


def given_groups(groups: str | None) -> Groups:
    """What `data.groups` gives: nothing, folders, or the path of a table (see `given_path`, which raises)."""
    if groups is None:
        return None
    return FOLDERS if groups == FOLDERS else given_path("data.groups", groups)


def by_folder(paths: Sequence[Path], classes: Sequence[Path]) -> Rows:
    """Groups (N,) by the first folder below each image's class; an image without one is a group of its own.

    Folders of one name in two classes are one group: the same patient, before and after.
    """
    names = []
    for path, folder in zip(paths, classes, strict=True):
        inner = path.relative_to(folder).parts
        names.append(f"folder {inner[0]}" if len(inner) > 1 else f"file {path}")
    return numbered(names)


def numbered(names: Sequence[str]) -> Rows:
    """The place (N,) of each name among all, sorted."""
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def read_table(table: Path, root: Path) -> dict[Path, Row]:
    """The files of a CSV table with the columns file (below `root`), class and group.

    Raises:
        PrivpipeError: the table cannot be read, has other columns, empty fields, a file twice, or one that is missing.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if not set(COLUMNS) <= set(columns):
                raise PrivpipeError(
                    f"data.groups={table} must have the columns {', '.join(COLUMNS)}, separated by commas; got "
                    f"{', '.join(columns) or 'none'}."
                )
            rows = [(reader.line_num, [(row[name] or "").strip() for name in COLUMNS]) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise PrivpipeError(f"data.groups={table} cannot be read: {error}. It must be a CSV file in UTF-8.") from error
    found: dict[Path, Row] = {}
    problems = []
    for line, (name, label, group) in rows:
        path = root / name
        if not (name and label and group):
            problems.append(f"line {line} has an empty field")
        elif path in found:
            problems.append(f"line {line} names {name} again")
        elif not path.is_file():
            problems.append(f"line {line}: there is no {name} in {root}")
        found[path] = Row(label, group)
    if problems or not found:
        shown = problems[:SHOWN] or ["it has no rows"]
        more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise PrivpipeError(f"data.groups={table} does not fit the images: {'; '.join(shown)}{more}. Correct it.")
    return found
