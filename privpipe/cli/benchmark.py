"""The commands that measure methods by the standard suite and compare them."""

from pathlib import Path

import click

from privpipe.cli.console import FILE

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("scheme")
@click.option("--size", default="smoke", show_default=True, help="smoke (minutes), standard (hours) or full.")
@click.option("--k", type=click.IntRange(1), help="Filter or block size; the method's usual one unless told otherwise.")
@click.option("--scope", type=click.Choice(["dataset", "image"]), default="dataset", show_default=True)
@click.option("--sigma", type=click.FloatRange(0), help="Strength of noise, in levels of 0..255.")
@click.option("--network", default="baseline", show_default=True, help="What the cloud trains, as model.arch.")
@click.option("--recipe", type=click.Choice(["paper", "modern"]), default="paper", show_default=True)
@click.option("--attack", "attacks", multiple=True, help="A further attack; the result is then none of the suite's.")
@click.option("--source", type=click.Choice(["cifar10", "synthetic"]), default="cifar10", show_default=True)
@click.option("--archive", help="Path or URL of a CIFAR-10 archive, in place of the official one.")
@click.option("--sha256", help="Its checksum.")
@click.option("--folder", type=FOLDER, default="out/evaluations", show_default=True, help="Keeps images and records.")
@click.option("--workers", type=click.IntRange(1), help="Processes side by side.  [default: one for each processor]")
def evaluate(folder: Path, workers: int | None, **asked: object) -> None:
    """Measure SCHEME by the suite privpipe-attacks: accuracy, attacks, whose image it is, and cost.

    SCHEME is a method of privpipe or of an installed package, by its name, or any class, as package.module.Class,
    also of a file in the current folder. No DVC project is needed. One JSON record of all that was measured is
    written, which `privpipe leaderboard` makes a page of. A run that was stopped goes on where it was.

    \b
    Examples:
      privpipe evaluate block_scramble --source synthetic
      privpipe evaluate my_package.MyScheme --k 4 --scope image
      privpipe evaluate my_package.MyScheme --size full
    """
    import sys

    from privpipe.pipeline.evaluate import Asked
    from privpipe.pipeline.evaluate import evaluate as run
    from privpipe.report.entry_text import as_text

    sys.path.insert(0, str(Path.cwd()))  # a file in the current folder is a package too
    entry, record = run(Asked(**asked), folder, workers)  # type: ignore[arg-type]  # click checked them
    click.echo(as_text(entry))
    click.echo(f"\nrecord: {record}")


@click.command()
@click.argument("records", nargs=-1, required=True, type=FILE)
@click.option("--out", default="out/leaderboard.html", show_default=True, type=FILE, help="The page to write.")
def leaderboard(records: tuple[Path, ...], out: Path) -> None:
    """Make one page of the records of evaluations: to sort, to filter, from disk and on a phone.

    A record that was changed after it was written, or is of another form, is refused.

    \b
    Examples:
      privpipe leaderboard out/evaluations/*.json
    """
    from privpipe.report.leaderboard import write_leaderboard

    count = write_leaderboard(records, out)
    click.echo(f"{out}: {count} entr{'y' if count == 1 else 'ies'}")
