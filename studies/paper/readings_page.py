"""What readings of the paper come to: images of 8 bits beside float16, and other strengths of regularisation."""

import pandas as pd

from studies.paper.claims import AT_MOST_ONE, SPLIT, Quantity, blocks_of, in_words, of_estimate, of_paper
from studies.paper.table import accuracy

KINDS = (("one for all images", "random_filter"), ("one for each image", "random_filter-image"))
COLUMNS = ("filters", "float16", "8 bits")
SAVED = "-8bit"  # at the end of a group of readings.yaml
STRENGTHS = ("regularisation", "accuracy", "blocks exact", "without a right pixel", "not more than one")
COUNTED = ("blocks_exact", "blocks_none", AT_MOST_ONE)


def readings_page(results: pd.DataFrame, readings: pd.DataFrame) -> str:
    """Test accuracies of the same filters and training seeds, stored in both ways.

    Args:
        results, readings: see `studies.paper.table.load_results`. Filters and seeds are those of `readings`.

    Returns:
        A table in Markdown, a row for each draw.
    """
    results = of_paper(results, "paper")
    lines = [_line(*COLUMNS), "|---" * len(COLUMNS) + "|"]
    for name, group in KINDS:
        of_group = readings[readings["group"] == group + SAVED]
        for (k, draw), saved in of_group.groupby(["k", "draw"]):
            same = results[(results["group"] == group) & (results["k"] == k) & (results["draw"] == draw)]
            same = same[same["seed"].isin(saved["seed"])]
            lines.append(_line(f"{name}, k = {k}, draw {draw}", *(_cell(_accuracy(rows)) for rows in (same, saved))))
    return "\n".join(lines) + "\n"


def strengths_page(results: pd.DataFrame, others: pd.DataFrame) -> str:
    """What descramblers found at k = 2 under each strength of regularisation.

    Args:
        results, others: see `studies.paper.table.load_results`. The paper's strength is that of `results`.

    Returns:
        A table in Markdown, a row for each strength, the weakest first.
    """
    paper = of_paper(results, "paper")
    paper = paper[(paper["group"] == "descrambler") & (paper["k"] == 2)]
    lines = [_line(*STRENGTHS), "|---" * len(STRENGTHS) + "|"]
    for reg, rows in pd.concat([paper, others]).groupby("reg"):
        found = [_accuracy(rows), *(blocks_of(rows, 2, column) for column in COUNTED)]
        lines.append(_line(f"{reg:g}", *map(_cell, found)))
    return "\n".join(lines) + "\n"


def _accuracy(rows: pd.DataFrame) -> Quantity | None:
    return of_estimate(accuracy(rows, SPLIT))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Quantity | None) -> str:
    return "not measured" if value is None else in_words(value, "%")
