"""Time this build against another revision of it, side by side.

    python -m benchmarks.against 3e582ee                       # perturbing, every method
    python -m benchmarks.against HEAD~3 --only noise --rounds 40
    python -m benchmarks.against 3e582ee --topic attack --rounds 3    # attacks and scores of the default experiment
    python -m benchmarks.against 3e582ee --topic reading --rounds 5   # folders of image files, by kind and mixed
    python -m benchmarks.against 3e582ee --topic restoration --rounds 1 --warmup 0    # a key for each image, and dB
    python -m benchmarks.against 3e582ee --topic linkage --rounds 5 --threads 1    # whose image it is, and mean ranks

REV is checked out into a temporary git worktree. Each build runs in a process of its own, and they take turns, call by
call, so that a machine that slows down for a while slows both. A ratio is taken within each round: how many times as
fast this build is. What is printed is the median over the rounds, with the quarters of the rounds that lie below and
above it. Nothing is written.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import click

from benchmarks import against_cases
from benchmarks.child import ROOT

HEADER = f"{'case':50s} {'this, µs':>9s} {'REV, µs':>9s} {'ratio':>7s}  {'quartiles':14s} {'of CPU':>7s}  quartiles"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Build:
    """A process that runs the cases of one build.

    Args:
        root: of the build.
        topic: of `against_cases.TOPICS`.
        threads: of libraries for arithmetic; None: as they choose, or as the environment says.
    """

    def __init__(self, root: Path, topic: str, threads: int | None = None):
        # -P: the script's own folder, benchmarks/, does not go on the path.
        command = [sys.executable, "-P", against_cases.__file__, topic, str(root)]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        if threads is not None:  # read when libraries are loaded
            environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
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


def compare(ours: Build, other: Build, case: str, rounds: int, warmup: int = 2) -> tuple[Seconds, Seconds]:
    """Seconds per item of each round, of both; the order within a round changes from one to the next."""
    seconds: tuple[Seconds, Seconds] = ([], [])
    builds = (ours, other)
    for turn in range(warmup + rounds):
        measured = {which: builds[which].seconds(case) for which in ((0, 1) if turn % 2 else (1, 0))}
        if turn >= warmup:
            for which, value in measured.items():
                seconds[which].append(value)
    return seconds


def row(case: str, ours: Seconds, other: Seconds) -> str:
    """A line of the table."""
    ours_us, other_us = (median(wall for wall, _ in seconds) * 1e6 for seconds in (ours, other))
    cells = [f"{case:50s} {ours_us:9.2f} {other_us:9.2f}"]
    for clock in (0, 1):
        ratios = [slow[clock] / fast[clock] for fast, slow in zip(ours, other, strict=True)]
        low, middle, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        cells.append(f"{middle:7.2f}  {f'{low:.2f} .. {high:.2f}':14s}")
    return " ".join(cells).rstrip()


@click.command(help=__doc__)
@click.argument("revision", metavar="REV")
@click.option("--topic", type=click.Choice(list(against_cases.TOPICS)), default="perturbation", show_default=True)
@click.option("--only", default="", metavar="WORD", help="cases whose name contains it")
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
@click.option("--warmup", type=click.IntRange(0), default=2, show_default=True, help="rounds before them, not counted")
@click.option("--threads", type=click.IntRange(1), help="of libraries for arithmetic, in each build")
def main(revision: str, topic: str, only: str, rounds: int, warmup: int, threads: int | None) -> None:
    with checked_out(revision) as tree:
        builds = []
        try:
            builds += [Build(ROOT, topic, threads), Build(tree, topic, threads)]
            ours, other = builds
            click.echo(HEADER)
            for case in ours.cases:
                if only in case and case in other.cases:
                    click.echo(row(case, *compare(ours, other, case, rounds, warmup)))
                    if case in ours.qualities:
                        both = (build.qualities[case] for build in (ours, other))
                        click.echo("  with the result {:.2f} (this) and {:.2f} (REV)".format(*both))
        finally:
            for build in builds:
                build.close()


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.against")
