"""What a topic of `python -m benchmarks` found: targets, tables and figures as data, and their file in results/."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.timing import Spread
from privpipe.files import write_json

FOLDER = Path(__file__).parent / "results"
MET, MISSED, NOT_MEASURED = "met", "missed", "not measured"
Cell = str | int | float | Spread | None


@dataclass(frozen=True)
class Target:
    """One line of the summary.

    Args:
        id: short, unique among all topics.
        what: what is measured, and against what.
        at_least, at_most: the threshold; one of them.
        unit: of threshold and value: `x` for a ratio, `%`, `s`, ...
        value: None where it could not be measured, with the `reason`.
        bound: what a profile says limits it, where it falls short.
    """

    id: str
    what: str
    unit: str
    value: Spread | None
    at_least: float | None = None
    at_most: float | None = None
    reason: str = ""
    bound: str = ""

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"the target {self.id} needs at_least or at_most, one of them")

    @property
    def verdict(self) -> str:
        """By the median: `met`, `missed`, or `not measured`."""
        if self.value is None:
            return NOT_MEASURED
        if self.at_least is not None:
            return MET if self.value.median >= self.at_least else MISSED
        assert self.at_most is not None
        return MET if self.value.median <= self.at_most else MISSED


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words under a title; `note` says what must be known to read them."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Line:
    """Measured points of a log-log plot, the power law fitted to them and the exponent that was to be expected."""

    label: str
    x: list[float]
    y: list[float]
    exponent: float
    factor: float
    expected: float


@dataclass(frozen=True)
class Figure:
    """A log-log plot; its file is docs/images/performance-<name>.png."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: list[Line]


@dataclass(frozen=True)
class Outcome:
    """All that a topic found; `facts` are numbers that the topic `scale` computes with."""

    targets: list[Target] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """An outcome and what it was measured with and on: the content of one file.

    Args:
        topic: a name of `benchmarks.topics`, with `-<machine>` where it is not the machine of the others.
        command: what measures it again.
        machine: see `benchmarks.machine.describe`.
        sgemm: GFLOP/s by threads, measured in the same run.
        images: what the images were.
        note: what must be known of this measurement alone.
    """

    topic: str
    command: str
    machine: dict[str, Any]
    sgemm: dict[str, float]
    images: str
    outcome: Outcome
    note: str = ""


def save(result: Result, folder: Path = FOLDER) -> None:
    """Write `<topic>.json`, atomically."""
    values = asdict(result)
    for target, entry in zip(result.outcome.targets, values["outcome"]["targets"], strict=True):
        entry["verdict"] = target.verdict  # for whoever reads the file without this class
    write_json(folder / f"{result.topic}.json", values)


def load(path: Path) -> Result:
    """What `save` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    found = values["outcome"]
    targets = [
        Target(**{name: _value(value) for name, value in entry.items() if name != "verdict"})
        for entry in found["targets"]
    ]
    tables = [
        Table(**{**entry, "rows": [[_value(cell) for cell in row] for row in entry["rows"]]})
        for entry in found["tables"]
    ]
    figures = [Figure(**{**entry, "lines": [Line(**line) for line in entry["lines"]]}) for entry in found["figures"]]
    return Result(**{**values, "outcome": Outcome(targets, tables, figures, found["facts"])})


def _value(value: Any) -> Any:
    return Spread(**value) if isinstance(value, dict) else value


def load_all(folder: Path = FOLDER) -> list[Result]:
    """Every result in a folder, by file name."""
    return [load(path) for path in sorted(folder.glob("*.json"))]


def number(value: float) -> str:
    """Three digits that count, thousands apart: 0.0123, 1.23, 12.3, 1,230."""
    if value == 0:
        return "0"
    if isinstance(value, int):
        return f"{value:,}"
    digits = max(0, 2 - int(f"{value:e}".split("e")[1]))
    return f"{round(value, digits):,.{min(digits, 6)}f}"


def show(cell: Cell) -> str:
    """A cell as text."""
    if cell is None:
        return ""
    if isinstance(cell, Spread):
        return f"{number(cell.median)} ({number(cell.low)} to {number(cell.high)})"
    return cell if isinstance(cell, str) else number(cell)


def summary_row(target: Target) -> list[str]:
    """Target, value, range, threshold and verdict as text."""
    sign, limit = (">=", target.at_least) if target.at_least is not None else ("<=", target.at_most)
    unit = target.unit if target.unit in ("x", "%") else f" {target.unit}"
    if target.value is None:
        return [target.what, "", "", f"{sign} {limit:g}{unit}", f"{target.verdict}: {target.reason}"]
    value = target.value
    spread = "" if value.low == value.high else f"{number(value.low)} to {number(value.high)}"
    return [target.what, f"{number(value.median)}{unit}", spread, f"{sign} {limit:g}{unit}", target.verdict]
