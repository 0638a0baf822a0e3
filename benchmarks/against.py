"""Time this build against another revision of it, side by side.

    python -m benchmarks.against 3e582ee                       # perturbing, every method
    python -m benchmarks.against HEAD~3 --only noise --rounds 40
    python -m benchmarks.against 3e582ee --topic attack --rounds 3    # attacks and scores of the default experiment
    python -m benchmarks.against 3e582ee --topic reading --rounds 5   # folders of image files, by kind and mixed
    python -m benchmarks.against 3e582ee --topic restoration --rounds 1 --warmup 0    # a key for each image, and dB

REV is checked out into a temporary git worktree. Each build runs in a process of its own, and they take turns, call by
call, so that a machine that slows down for a while slows both. A ratio is taken within each round: how many times as
fast this build is. What is printed is the median over the rounds, with the smallest and the largest beside it; by the
clock on the wall and, of the process alone, of CPU. With --save the page of performance gets it.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click

from benchmarks import against_cases
from benchmarks.child import ROOT
from benchmarks.machine import describe, sgemm
from benchmarks.page import write_page
from benchmarks.results import Cell, Outcome, Result, Table, Target, save, show
from benchmarks.timing import Spread
from benchmarks.topics import AGAINST

TITLE = "Against an earlier build"
ABOUT = """
The same public calls of this build and of an earlier one, each in a process of its own, in turns. A ratio is how many
times as fast this build is, taken within each round. CPU time is that of the process alone, so that it says nothing
where workers do the work.
"""
COLUMNS = ["case", "this, µs", "that, µs", "ratio", "ratio of CPU", "result of this", "result of that"]
# How many times as fast this build is to be, by words of the case; by the wall clock where workers do the work.
WANTED: dict[str, dict[str, float]] = {
    "attack": {"": 3},
    "reading": {"mixed": 0.9},
    "restoration": {"k=5": 20},
    "training": {"bfloat16": 1.5, "float32": 1},
    "sweep": {"": 1.5},
}
BY_WORKERS = ("sweep",)


class Build:
    """A process that runs the cases of one build."""

    def __init__(self, root: Path, topic: str):
        # -P: the script's own folder, benchmarks/, does not go on the path.
        command = [sys.executable, "-P", against_cases.__file__, topic, str(root)]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        self.process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.cases = self._read().split("\t")
        self.qualities: dict[str, float] = {}  # of what cases returned, where that is a number

    def seconds(self, case: str) -> tuple[float, float]:
        """Of one call, per item: by the clock on the wall, and of CPU."""
        assert self.process.stdin is not None
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        wall, cpu, *quality = map(float, self._read().split())
        if quality:
            self.qualities[case] = quality[0]
        return wall, cpu

    def close(self) -> int:
        """End the process; its exit code."""
        with self.process:  # closes its input, on which it ends
            pass
        return self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise click.ClickException(f"the process of a build ended with {self.close()}; see above.")
        return line.rstrip("\n")


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A temporary git worktree of a revision."""
    with tempfile.TemporaryDirectory(prefix="against-") as name:
        tree = Path(name) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        made = subprocess.run([*git, "add", "--detach", str(tree), revision], capture_output=True, text=True)
        if made.returncode:
            raise click.ClickException(f"git has no such revision {revision!r}: {made.stderr.strip()}")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True, capture_output=True)


Seconds = list[tuple[float, float]]


def compare(ours: Build, other: Build, case: str, rounds: int, warmup: int) -> tuple[Seconds, Seconds]:
    """Seconds per item of each round, of both; the order within a round changes from one to the next."""
    seconds: tuple[Seconds, Seconds] = ([], [])
    builds = (ours, other)
    for turn in range(warmup + rounds):
        measured = {which: builds[which].seconds(case) for which in ((0, 1) if turn % 2 else (1, 0))}
        if turn >= warmup:
            for which, value in measured.items():
                seconds[which].append(value)
    return seconds


def ratio(ours: Seconds, other: Seconds, clock: int) -> Spread:
    """How many times as fast ours is, round by round, by the clock on the wall (0) or by CPU time (1)."""
    return Spread.of([slow[clock] / fast[clock] for fast, slow in zip(ours, other, strict=True)])


def row(case: str, ours: Seconds, other: Seconds, qualities: Sequence[float] = ()) -> list[Cell]:
    """A line of the table; `qualities` of both, or none."""
    times = (median(wall for wall, _ in seconds) * 1e6 for seconds in (ours, other))
    return [case, *times, ratio(ours, other, 0), ratio(ours, other, 1), *(qualities or (None, None))]


def judged(topic: str, row: list[Cell], revision: str) -> list[Target]:
    """What is wanted of a case, if anything."""
    case, value = str(row[0]), row[3 if topic in BY_WORKERS else 4]
    assert isinstance(value, Spread)
    clock = "" if topic in BY_WORKERS else ", CPU time"
    wanted = [least for word, least in WANTED.get(topic, {}).items() if word in case][:1]
    slug = re.sub(r"[^a-z0-9]+", "-", case.lower()).strip("-")
    what = f"{case}{clock}: against {revision}"
    return [Target(f"against-{topic}-{slug}", what, "x", value, at_least=least) for least in wanted]


def print_line(row: list[Cell]) -> None:
    click.echo(" | ".join(map(show, row)).rstrip(" |"))


@click.command(help=__doc__)
@click.argument("revision", metavar="REV")
@click.option("--topic", type=click.Choice(list(against_cases.TOPICS)), default="perturbation", show_default=True)
@click.option("--only", default="", metavar="WORD", help="cases whose name contains it")
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
@click.option("--warmup", type=click.IntRange(0), default=2, show_default=True, help="rounds before them, not counted")
@click.option(
    "--save", "keep", is_flag=True, help="write benchmarks/results/against-TOPIC.json and docs/performance.md"
)
def main(revision: str, topic: str, only: str, rounds: int, warmup: int, keep: bool) -> None:
    rows: list[list[Cell]] = []
    with checked_out(revision) as tree:
        builds: list[Build] = []
        try:
            builds += [Build(ROOT, topic), Build(tree, topic)]
            ours, other = builds
            print_line([*COLUMNS])
            for case in ours.cases:
                if only in case and case in other.cases:
                    seconds = compare(ours, other, case, rounds, warmup)
                    qualities = [build.qualities[case] for build in builds if case in build.qualities]
                    rows.append(row(case, *seconds, qualities))
                    print_line(rows[-1])
        finally:
            for build in builds:
                build.close()
    if keep:
        command = f"python -m benchmarks.against {revision} --topic {topic}" + (f" --only {only}" if only else "")
        command += f" --rounds {rounds}" + (f" --warmup {warmup}" if warmup != 2 else "")
        targets = [target for each in rows for target in judged(topic, each, revision)]
        outcome = Outcome(targets, [Table(f"{topic}, against {revision}", COLUMNS, rows, f"{rounds} rounds.")])
        save(Result(f"{AGAINST}-{topic}", command, describe(), sgemm(), "drawn", outcome))
        write_page()


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.against")
