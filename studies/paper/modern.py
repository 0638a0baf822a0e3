"""Whether the paper's conclusions survive a better classifier: the same experiments under both recipes."""

from typing import Any

import pandas as pd

from studies.paper.claims import SPLIT, Quantity, difference, in_words, of_estimate, of_paper
from studies.paper.table import accuracy

COLUMNS = ("experiment", "against", "paper recipe", "points below", "modern recipe", "points below")
# What is done to the images, with which network, and the experiment of the same size that it is held against.
EXPERIMENTS = (
    ("plain", ""),
    ("gaussian_blur", "plain"),
    ("block_scramble", "plain"),
    ("descrambler", "block_scramble"),
)


def modern_page(paper: pd.DataFrame, modern: pd.DataFrame) -> str:
    """Test accuracies under both recipes, each also as points below the experiment that it is held against.

    Args:
        paper, modern: see `studies.paper.table.load_results`. Experiments are those of `modern`; of `paper` the runs
            under the paper's recipe count.

    Returns:
        A table in Markdown, empty but for its header where no model of `modern` is finished.
    """
    paper = of_paper(paper, "paper")
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    names = {group: _name(group, rows) for group, rows in modern.groupby("group")}
    for group, other in EXPERIMENTS:
        if _of(modern, group, modern) is None:
            continue
        cells = [names[group], names.get(other, "")]
        for table in (paper, modern):
            mine = _of(table, group, modern)
            below = difference(_of(table, other, modern), mine)
            cells += [in_words(mine, "%") if mine else "not measured", in_words(below, runs=False) if below else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _of(table: pd.DataFrame, group: str, sizes: pd.DataFrame) -> Quantity | None:
    """The accuracy of a group's baseline or descrambler at the k that `sizes` has of it; None where there is none."""
    arch = "descrambler" if group == "descrambler" else "baseline"
    sizes = sizes[sizes["group"] == group]
    rows = table[(table["group"] == group) & (table["arch"] == arch) & table["k"].isin(sizes["k"])]
    return of_estimate(accuracy(rows, SPLIT))


def _name(group: Any, rows: pd.DataFrame) -> str:
    return "unperturbed" if group == "plain" else f"{group} k={rows['k'].iloc[0]}"
