"""The commands that measure methods by the standard suite and compare them."""

import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from privpipe.cli.console import FILE

FOLDER = click.Path(file_okay=False, path_type=Path)


OPTIONS = {
    "method": [
        click.option("--k", type=click.IntRange(1), help="Filter or block size; the method's usual one by default."),
        click.option("--scope", type=click.Choice(["dataset", "image"]), default="dataset", show_default=True),
        click.option("--sigma", type=click.FloatRange(0), help="Strength of noise, in levels of 0..255."),
        click.option("--set", "settings", multiple=True, metavar="NAME=NUMBER", help="A setting of the method's own."),
    ],
    "source": [
        click.option("--source", type=click.Choice(["cifar10", "synthetic"]), default="cifar10", show_default=True),
        click.option("--archive", help="Path or URL of a CIFAR-10 archive, in place of the official one."),
        click.option("--sha256", help="Its checksum."),
    ],
}


def options(*groups: str) -> Callable[[Any], Any]:
    """The options of some groups, in order."""
    chosen = [option for group in groups for option in OPTIONS[group]]
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(chosen), command)


def see_current_folder() -> None:
    """A file in the current folder is a package too."""
    sys.path.insert(0, str(Path.cwd()))


@click.command()
@click.argument("scheme")
@click.option("--size", default="smoke", show_default=True, help="smoke (minutes), standard (hours) or full.")
@options("method")
@click.option("--network", default="baseline", show_default=True, help="What the cloud trains, as model.arch.")
@click.option("--recipe", type=click.Choice(["paper", "modern"]), default="paper", show_default=True)
@click.option("--attack", "attacks", multiple=True, help="A further attack; the result is then none of the suite's.")
@options("source")
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
    from privpipe.pipeline.evaluate import Asked
    from privpipe.pipeline.evaluate import evaluate as run
    from privpipe.report.entry_text import as_text

    see_current_folder()
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


@click.group()
def challenge() -> None:
    """Publish uploads without their key for others to attack, hand in a solution, and score it."""


@challenge.command()
@click.argument("scheme")
@click.argument("folder", type=FOLDER)
@click.option("--private", type=FOLDER, required=True, help="Keeps key and originals; never published.")
@click.option("--size", default="smoke", show_default=True, help="How many images, as of the suite's sizes.")
@click.option("--pairs", type=click.IntRange(0), default=0, show_default=True, help="Known pairs that are published.")
@options("method", "source")
def new(folder: Path, private: Path, pairs: int, **asked: object) -> None:
    """Make a challenge: FOLDER is what is published, with a README for who solves it.

    A fresh secret key is drawn. The images are CIFAR-10's or drawn, so that candidates may be published.

    \b
    Examples:
      privpipe challenge new block_scramble out/challenge --private out/owner --source synthetic
    """
    from privpipe.pipeline.challenge import new_challenge
    from privpipe.pipeline.evaluate import Asked

    see_current_folder()
    rules = new_challenge(Asked(**asked), folder, private, pairs)  # type: ignore[arg-type]  # click checked them
    asked_for = rules["asked"]
    click.echo(f"{folder}: {asked_for['images'][0]} uploads to reconstruct, {asked_for['candidates']} to be named")
    click.echo(f"{private}: key and originals; keep it")


@challenge.command()
@click.argument("folder", type=FOLDER)
@click.option("--images", type=FILE, help="Reconstructions of the uploads `test`: .npy, uint8 (T, H, W, C).")
@click.option("--candidates", type=FILE, help="Rows of candidates.h5 for the uploads `val`: .npy, whole numbers (V,).")
@click.option("--attack", help="In place of both: one of privpipe's attacks, or package.module.Class.")
@click.option("--by", default="", help="Who hands it in.")
@click.option("--out", required=True, type=FILE, help="The file to hand in.")
def submit(folder: Path, images: Path | None, candidates: Path | None, attack: str | None, by: str, out: Path) -> None:
    """Check a solution of the challenge in FOLDER and write the file that is handed in.

    \b
    Examples:
      privpipe challenge submit out/challenge --attack pixel_correlation --out out/solution.h5
    """
    from privpipe.attacks.challenge import read_solution, save_solution, solve
    from privpipe.pipeline.evaluate import attack_named

    see_current_folder()
    given = read_solution(folder, by, images, candidates) if attack is None else solve(folder, attack_named(attack))
    save_solution(out, given)
    click.echo(f"{out}: hand this in")


@challenge.command()
@click.argument("folder", type=FOLDER)
@click.argument("solution", type=FILE)
@click.option("--private", type=FOLDER, required=True, help="As of `privpipe challenge new`.")
def score(folder: Path, solution: Path, private: Path) -> None:
    """Score a SOLUTION of the challenge in FOLDER with key and originals, as JSON.

    \b
    Examples:
      privpipe challenge score out/challenge out/solution.h5 --private out/owner
    """
    import json
    from dataclasses import asdict

    from privpipe.attacks.challenge import load_solution
    from privpipe.pipeline.challenge import score_solution

    click.echo(json.dumps(asdict(score_solution(folder, private, load_solution(solution))), indent=2))
