"""The committed results of the study agree with each other, with the grid and with the page."""

from pathlib import Path

import pandas as pd
import pytest

from privpipe.pipeline.grid import Task, load_grid
from studies.pages import BESIDE, LEADERBOARD, SURVEY, documents, load_beside
from studies.paper.claims import claims_page
from studies.paper.table import load_results, summary

STUDY = Path(__file__).parents[3] / "studies" / "paper"
GRID = load_grid(STUDY / "params.yaml", STUDY / "common.yaml")


NAMES = (
    *("group", "method", "k", "scope", "draw", "seed", "arch", "recipe"),
    *("epochs", "batch_size", "lr", "lr_decay", "reg", "precision"),
)


def settings(task: Task) -> tuple[object, ...]:
    p = task.params
    how = p.train
    what = (task.group, p.perturb.method, p.perturb.k, p.perturb.scope, p.key.seed, p.train.seed)
    return (*what, p.model.arch, how.recipe, how.epochs, how.batch_size, how.lr, how.lr_decay, how.reg, how.precision)


@pytest.mark.parametrize("grid, rows", [("params", "results"), *((name, name) for name in BESIDE)])
def test_every_row_is_a_model_of_its_grid_and_none_is_there_twice(grid: str, rows: str) -> None:
    groups = load_grid(STUDY / f"{grid}.yaml", STUDY / "common.yaml").groups
    legal = {settings(task) for tasks in groups.values() for task in tasks}
    table = load_results(STUDY / f"{rows}.csv")
    found = [tuple(row) for row in table[list(NAMES)].itertuples(index=False)]
    assert set(found) <= legal and len(set(found)) == len(found)


def test_the_table_is_that_of_the_groups() -> None:
    lines = (STUDY / "results.csv").read_text().splitlines()[1:]
    parts = [(STUDY / "results" / f"{group}.csv") for group in GRID.groups]
    assert lines == [line for path in parts if path.exists() for line in path.read_text().splitlines()[1:]]


def test_means_claims_and_page_are_of_the_table() -> None:
    table = load_results(STUDY / "results.csv")
    expected = summary(table).to_csv(index=False, lineterminator="\n", float_format="%.6g")
    assert (STUDY / "summary.csv").read_text() == expected
    claims = claims_page(table)
    assert (STUDY / "claims.md").read_text() == claims
    survey, entries = (pd.read_csv(path) for path in (SURVEY, LEADERBOARD))
    for path, text in documents(table, load_beside(), survey, entries).items():
        assert path.read_text() == text  # else: python -m studies.pages
