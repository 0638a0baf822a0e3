"""Rows of the tables on releases of whole sets and on training at home: accuracy beside what is guaranteed."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

WITH, WITHOUT = "with public classes", "without public classes"


@dataclass(frozen=True)
class Row:
    """A line of the tables of docs/results.md on what is not an image for each image.

    Args:
        method: what leaves the owner.
        settings: in words.
        epsilon: of the guarantee; None without one.
        at_most, at_least: how often one of the test images is named among them, 0..1; None without a number.
        accuracy: on test images, 0..1; the mean where there are several noises.
        minutes: of the processor, for everything; None where it was not measured.
        low, high: of the accuracies.
        public: whether classes of the public images were used, `WITH` or `WITHOUT`; empty where no public image was.
    """

    method: str
    settings: str
    epsilon: float | None
    at_most: float | None
    at_least: float | None
    accuracy: float
    minutes: float | None = None
    low: float | None = None
    high: float | None = None
    public: str = ""


COLUMNS = [field.name for field in fields(Row)]
HEADER = [
    "| method | settings | epsilon | at most | at least | test accuracy | minutes of CPU |",
    "|---|---|---|---|---|---|---|",
]


def cells(row: Row) -> list[Any]:
    """The values of a row as they are written to a CSV file, in the order of `COLUMNS`; 5 digits."""
    return [f"{value:.5g}" if isinstance(value, float) else value for value in astuple(row)]


def markdown(rows: Sequence[Row], header: bool = True) -> str:
    """Lines of a table."""
    lines = list(HEADER) if header else []
    for row in rows:
        least, most = ("" if value is None else f"{100 * value:.2f} %" for value in (row.at_least, row.at_most))
        spread = "" if row.low is None or row.high is None else f" ({100 * row.low:.1f} to {100 * row.high:.1f})"
        shown = [
            row.method,
            ", ".join(filter(None, [row.settings, row.public])),
            "none" if row.epsilon is None else f"{row.epsilon:g}",
            most,
            least,
            f"{100 * row.accuracy:.1f} %{spread}",
            "" if row.minutes is None else f"{row.minutes:.1f}",
        ]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)
