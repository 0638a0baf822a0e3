"""Measure privpipe against what one would write without it.

    python -m benchmarks                            # all topics but long ones; results, page and figures are made anew
    python -m benchmarks --only sizes               # a long one, which is measured only when named
    python -m benchmarks --only training            # one topic; what is known of the others stays
    python -m benchmarks --quick --only storage     # small, for a look: nothing is written
    python -m benchmarks --only training --machine epyc    # beside the results of another machine
    python -m benchmarks --page                     # the page alone, from benchmarks/results

`make bench` installs what it compares with, and runs the first. The GPU has a command of its own:
`python -m benchmarks.gpu`.
"""

import tempfile
import time
from pathlib import Path

import click

from benchmarks.child import ROOT
from benchmarks.machine import describe, sgemm
from benchmarks.page import write_page
from benchmarks.results import Result, Target, load_all, save, show, summary_row
from benchmarks.setting import Setting
from benchmarks.topics import LONG, TOPICS, topic

HEADER = ["target", "value", "range", "wanted", "verdict"]


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(TOPICS), help="this topic; may be given again")
@click.option("--quick", is_flag=True, help="small sizes, to see that everything runs: nothing is written")
@click.option(
    "--images",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="a CIFAR-10 archive, or images uint8 (N, 32, 32, 3) as .npy; otherwise they are drawn",
)
@click.option("--machine", "where", metavar="NAME", help="keep the results beside those of another machine")
@click.option("--page", "page_only", is_flag=True, help="write docs/performance.md and its figures, measure nothing")
def main(only: tuple[str, ...], quick: bool, images: Path | None, where: str | None, page_only: bool) -> None:
    if page_only:
        write_page()
        return
    start = time.perf_counter()

    def tell(what: str) -> None:
        click.echo(f"{time.perf_counter() - start:6.0f} s  {what}", err=True)

    tell("the rate of this machine's matrix products")
    rates, machine = sgemm(), describe()
    targets: list[Target] = []
    facts = {n: value for result in load_all() if result.topic in TOPICS for n, value in result.outcome.facts.items()}
    # On the disk of the checkout: /tmp may be memory, and its rates those of no disk.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT) as name:
        setting = Setting(quick, images, Path(name), tell, rates, facts)
        for each in only or [name for name in TOPICS if name not in LONG]:
            outcome = topic(each).measure(setting)
            targets += outcome.targets
            facts |= outcome.facts
            if quick:  # there will be no page to read them on
                for table in outcome.tables:
                    click.echo(f"{table.title}")
                    print_rows([table.columns, *([show(cell) for cell in row] for row in table.rows)])
                    click.echo()
            if not quick:
                given = {"images": setting.images_name if images else None, "machine": where}
                options = "".join(f" --{name} {value}" for name, value in given.items() if value)
                command = f"python -m benchmarks --only {each}{options}"
                label = f"{each}-{where}" if where else each
                save(Result(label, command, machine, rates, setting.images_name, outcome))
    print_summary(targets)
    if quick:
        click.echo("Measured with small sizes (--quick): these are no results, and nothing was written.")
    else:
        write_page()


def print_summary(targets: list[Target]) -> None:
    """All targets as one table, and what limits those that fall short."""
    print_rows([HEADER, *(summary_row(target) for target in targets)])
    for target in targets:
        if target.bound:
            click.echo(f"{target.id}: {target.bound}")


def print_rows(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
