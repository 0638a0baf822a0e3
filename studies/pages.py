"""The studies' tables in the documents, made again from the committed ones.

    python -m studies.pages

puts the claims, what is measured, the readings, the two precisions and the two recipes into docs/reproduction.md, the
survey and the accuracies into docs/results.md and the leaderboard into docs/leaderboard.md, each between its two
comments.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import pandas as pd

from privpipe.errors import PrivpipeError
from privpipe.files import write_text
from privpipe.perturb import PERTURBATIONS
from privpipe.pipeline.entries import scheme_of
from privpipe.pipeline.grid import load_grid
from studies.paper.claims import claims_page
from studies.paper.measured import measured_page
from studies.paper.modern import modern_page
from studies.paper.precision import precision_page
from studies.paper.readings_page import readings_page, strengths_page
from studies.paper.table import load_results
from studies.paper.table import summary as means
from studies.survey.summary import survey_page

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "studies" / "paper"
TABLE = STUDY / "results.csv"
BESIDE = ("precision", "penalty", "modern", "readings")  # grids
SURVEY = ROOT / "studies" / "survey" / "results.csv"
LEADERBOARD = ROOT / "studies" / "leaderboard" / "results.csv"
COLUMNS = ("experiment", "runs", "validation", "test (95 % interval)")


def accuracies(results: pd.DataFrame) -> str:
    """The mean accuracies of all experiments as a table in Markdown.

    Args:
        results: see `studies.paper.table.load_results`.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row in means(results).itertuples():
        runs = f"{row.seeds} seed{'s' * (row.seeds > 1)}" if row.draws == 1 else f"{row.draws} draws of the key"
        interval = f"{100 * row.test_accuracy_low:.1f} to {100 * row.test_accuracy_high:.1f}"
        cells = [
            title(row),
            runs,
            f"{100 * row.val_accuracy:.1f} %",
            f"{100 * row.test_accuracy:.1f} % ({interval})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def title(row: Any) -> str:
    """An experiment in words: what differs from the frozen setting."""
    words = ["unperturbed"] if row.method == "none" else [f"{row.method} k={row.k}"]
    if row.method != "none" and PERTURBATIONS[row.method].keyed and row.scope == "image":
        words.append("a key for each image")
    if row.arch != "baseline":
        words.append(f"{row.arch} ({row.descrambler})" if row.descrambler else row.arch)
    if row.group == "search":
        words.append(f"learning rate {row.lr:g}, penalty {row.reg:g}")
    return ", ".join(words if row.recipe == "paper" else [*words, f"recipe {row.recipe}"])


SCHEMES = ("scheme", "accuracy (95 % interval)", "exactly", "at most", "at least", "SSIM L0", "L1", "L2", "flags")


def leaderboard(entries: pd.DataFrame, wanted: Iterable[str]) -> str:
    """The entries of the leaderboard as a table in Markdown, the most accurate first, and what is missing of it.

    Args:
        entries: columns as `studies.leaderboard.page.TABLE`.
        wanted: titles of all entries.
    """
    lines = [f"| {' | '.join(SCHEMES)} |", "|---" * len(SCHEMES) + "|"]
    for row in entries.itertuples():
        interval = f"{100 * row.accuracy_low:.1f} to {100 * row.accuracy_high:.1f}"
        told = ["" if pd.isna(value) else f"{100 * value:.1f} %" for value in (row.exactly, row.at_most, row.at_least)]
        ssim = ["" if pd.isna(value) else f"{value:.2f}" for value in (row.l0_ssim, row.l1_ssim, row.l2_ssim)]
        flags = "" if pd.isna(row.flags) else row.flags
        lines.append(f"| {' | '.join([row.scheme, f'{100 * row.accuracy:.1f} % ({interval})', *told, *ssim, flags])} |")
    missing = [title for title in wanted if title not in set(entries["scheme"])]
    lines += ["", f"Not run yet: {'; '.join(missing)}."] if missing else []
    return "\n".join(lines) + "\n"


def titles() -> list[str]:
    """Of all entries that the leaderboard is to have."""
    grid = load_grid(LEADERBOARD.parent / "params.yaml", LEADERBOARD.parent / "common.yaml")
    return [scheme_of(tasks[0].params).title for tasks in grid.groups.values()]


def planned() -> dict[str, int]:
    """How many models each group of the paper's grid has."""
    grid = load_grid(STUDY / "params.yaml", STUDY / "common.yaml")
    return {name: len(tasks) for name, tasks in grid.groups.items()}


def filled(page: str, name: str, text: str) -> str:
    """A page with other text between `<!-- name -->` and `<!-- /name -->`.

    Raises:
        PrivpipeError: the page has not each of them once.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if page.count(start) != 1 or page.count(end) != 1:
        raise PrivpipeError(f"the page must have `{start.strip()}` and `{end}` once each, on lines of their own.")
    before, _, rest = page.partition(start)
    return before + start + text + end + rest.partition(end)[2]


def load_beside() -> dict[str, pd.DataFrame]:
    """The tables of the grids beside the paper's, by their names."""
    return {name: load_results(STUDY / f"{name}.csv") for name in BESIDE}


def documents(
    results: pd.DataFrame, beside: Mapping[str, pd.DataFrame], survey: pd.DataFrame, entries: pd.DataFrame
) -> dict[Path, str]:
    """The documents as they should be, by their files.

    Args:
        results, survey, entries: see `accuracies`, `studies.survey.summary.survey_page` and `leaderboard`.
        beside: the grids beside the paper's, by their names.
    """
    blocks = (
        ("reproduction.md", "claims", claims_page(results)),
        ("reproduction.md", "measured", measured_page(results, planned())),
        ("reproduction.md", "precision", precision_page(beside["precision"])),
        ("reproduction.md", "readings", readings_page(results, beside["readings"])),
        ("reproduction.md", "penalty", strengths_page(results, beside["penalty"])),
        ("reproduction.md", "modern", modern_page(results, beside["modern"])),
        ("results.md", "survey", survey_page(survey)),
        ("results.md", "accuracies", accuracies(results)),
        ("leaderboard.md", "leaderboard", leaderboard(entries, titles())),
    )
    pages: dict[Path, str] = {}
    for document, name, text in blocks:
        path = ROOT / "docs" / document
        pages[path] = filled(pages.get(path) or path.read_text(encoding="utf-8"), name, text)
    return pages


@click.command(help=__doc__)
def main() -> None:
    survey, entries = (pd.read_csv(path) for path in (SURVEY, LEADERBOARD))
    for path, text in documents(load_results(TABLE), load_beside(), survey, entries).items():
        write_text(path, text)
        click.echo(path.relative_to(ROOT))


if __name__ == "__main__":
    main(prog_name="python -m studies.pages")
