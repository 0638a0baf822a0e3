"""The committed results of the study agree with each other, with the grid and with the page."""

from pathlib import Path

import pandas as pd

from privpipe.pipeline.grid import Task, load_grid
from studies.pages import LEADERBOARD, documents
from studies.paper.claims import claims_page
from studies.paper.table import load_results, summary

STUDY = Path(__file__).parents[3] / "studies" / "paper"
GRID = load_grid(STUDY / "params.yaml", STUDY / "common.yaml")


def settings(task: Task) -> tuple[object, ...]:
    p = task.params
    what = (task.group, p.perturb.method, p.perturb.k, p.perturb.scope, p.key.seed, p.train.seed)
    return (*what, p.model.arch, p.train.recipe, p.train.epochs, p.train.lr, p.train.lr_decay, p.train.reg)


def test_every_row_is_a_model_of_the_grid_and_none_is_there_twice() -> None:
    legal = {settings(task) for tasks in GRID.groups.values() for task in tasks}
    table = load_results(STUDY / "results.csv")
    names = ["group", "method", "k", "scope", "draw", "seed", "arch", "recipe", "epochs", "lr", "lr_decay", "reg"]
    found = [tuple(row) for row in table[names].itertuples(index=False)]
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
    for path, text in documents(table, pd.read_csv(LEADERBOARD)).items():
        assert path.read_text() == text  # else: python -m studies.pages
