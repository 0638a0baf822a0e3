"""The leaderboard: one page of the records of many evaluations, to sort, to filter, and to open from disk.

It draws what records say, and no record that was changed or is of another form (`privpipe.scores.entry`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from privpipe.errors import PrivpipeError
from privpipe.files import write_text
from privpipe.report.entry_text import interval, percent
from privpipe.scores.entry import Entry, load_entry

LEAST_RUNS = 9  # three keys with three training seeds each: fewer are marked
LEVELS = ("l0", "l1", "l2")


@dataclass(frozen=True)
class Column:
    """A column: its heading, what it means, and which direction its heading sorts by first."""

    name: str
    heading: str
    meaning: str
    falling: bool = False


COLUMNS = (
    Column("scheme", "scheme", "method, size, scope and network"),
    Column("accuracy", "accuracy", "of the cloud's classifier on test uploads, with a 95 % interval", falling=True),
    Column("exactly", "exactly", "how often the best of all adversaries tells whose image an upload is: a theorem"),
    Column("at_most", "at most", "the same, of any adversary at all: a theorem about noise"),
    Column("at_least", "at least", "the same, of our adversary: it was done"),
    *(
        Column(f"{level}_ssim", f"SSIM {level.upper()}", f"of the best reconstruction {known}; 1 is the original")
        for level, known in zip(LEVELS, ("from uploads alone", "with public images", "with known pairs"), strict=True)
    ),
    Column("owner", "owner, s", "seconds to perturb all images"),
    Column("cloud", "cloud, s", "seconds to train"),
    Column("bytes", "MB", "uploaded"),
    Column("runs", "runs", "keys × training seeds", falling=True),
    Column("flags", "flags", "signs that the attacks may be weaker than they could be"),
)


@dataclass(frozen=True)
class Cell:
    """What is shown, and the number by which it is sorted; None comes last."""

    text: str
    value: float | str | None


def cells(entry: Entry) -> dict[str, Cell]:
    """The cells of an entry, by the names of `COLUMNS`."""
    told, cost = entry.identified, entry.cost
    flags = ", ".join(dict.fromkeys(flag.partition(":")[0] for flag in entry.flags))  # of several keys each kind once
    out = {
        "scheme": Cell(entry.title, entry.title),
        "accuracy": Cell(interval(entry.accuracy), entry.accuracy.mean),
    }
    for kind in ("exactly", "at_most", "at_least"):
        value = getattr(told, kind)
        out[kind] = Cell(percent(value), value)
    for level in LEVELS:
        ssim = entry.privacy.get(f"{level}_ssim")
        out[f"{level}_ssim"] = Cell("", None) if ssim is None else Cell(f"{ssim.mean:.3f}", ssim.mean)
    return out | {
        "owner": Cell(f"{cost.owner_seconds:.2f}", cost.owner_seconds),
        "cloud": Cell(f"{cost.cloud_seconds:.1f}", cost.cloud_seconds),
        "bytes": Cell(f"{cost.bytes / 1e6:.1f}", cost.bytes),
        "runs": Cell(f"{len(entry.keys)} × {len(entry.seeds)}", len(entry.keys) * len(entry.seeds)),
        "flags": Cell(flags, flags or None),
    }


def load_entries(paths: Sequence[str | Path]) -> list[Entry]:
    """The records of a page, the most accurate first.

    Raises:
        PrivpipeError: there are none, one cannot be read or was changed, or two are of the same thing.
    """
    if not paths:
        raise PrivpipeError("a leaderboard needs records; got none. Make some with `privpipe evaluate`.")
    known: dict[tuple[str, ...], str | Path] = {}
    entries = []
    for path in paths:
        entry = load_entry(path)
        identity = (entry.title, entry.scheme.recipe, entry.suite.title, entry.suite.size, entry.images.digest)
        if identity in known:
            raise PrivpipeError(
                f"{known[identity]} and {path} are records of the same: {entry.title} by {entry.suite.title}, size "
                f"{entry.suite.size}, on the same images. Leave one of them out."
            )
        known[identity] = path
        entries.append(entry)
    return sorted(entries, key=lambda entry: (-entry.accuracy.mean, entry.title))


def write_leaderboard(paths: Sequence[str | Path], target: str | Path) -> int:
    """Write the page; the same records give the same bytes.

    Returns:
        How many entries it has.

    Raises:
        PrivpipeError: as of `load_entries`, or the page cannot be written.
    """
    entries = load_entries(paths)
    loader = PackageLoader("privpipe.report", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    rows = [(entry, cells(entry)) for entry in entries]
    page = environment.get_template("leaderboard.html.j2").render(columns=COLUMNS, rows=rows, least_runs=LEAST_RUNS)
    write_text(target, page)
    return len(entries)
