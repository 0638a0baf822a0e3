"""How much of the grid is measured, group by group."""

from collections.abc import Mapping

import pandas as pd

COLUMNS = ("group", "k", "networks", "keys", "training seeds", "models", "of the grid")


def measured_page(results: pd.DataFrame, planned: Mapping[str, int]) -> str:
    """What was run of each group, and the sum over all, as a table in Markdown.

    Seeds are those of each experiment: a range where some of them have more runs than others. A model whose training
    diverged was run as well.

    Args:
        results: see `studies.paper.table.load_results`.
        planned: the number of models of each group of the grid, in its order.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for group, count in planned.items():
        rows = results[results["group"] == group]
        cells = [group, *_extent(rows), str(len(rows)), str(count)]
        lines.append(f"| {' | '.join(cells)} |")
    run = int(results["group"].isin(list(planned)).sum())
    lines.append(f"| all |  |  |  |  | {run} | {sum(planned.values())} |")
    return "\n".join(lines) + "\n"


def _extent(rows: pd.DataFrame) -> list[str]:
    """Sizes, networks, keys and seeds of the runs of a group."""
    if rows.empty:
        return [""] * 4
    sizes = ", ".join(map(str, sorted(rows["k"].unique()))) if (rows["method"] != "none").any() else ""
    of_one = rows.groupby(["method", "k", "arch", "recipe", "lr", "reg"], dropna=False)
    experiment_and_key = rows.groupby(["method", "k", "arch", "recipe", "lr", "reg", "draw"], dropna=False)
    keys = of_one["draw"].nunique(dropna=False)
    seeds = experiment_and_key["seed"].nunique()
    return [sizes, ", ".join(rows["arch"].unique()), _range(keys), _range(seeds)]


def _range(counts: "pd.Series[int]") -> str:
    low, high = counts.min(), counts.max()
    return str(low) if low == high else f"{low} to {high}"
