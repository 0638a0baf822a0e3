"""The survey's table in the documents: some of its points, and what follows for who would use them."""

from typing import Any

import pandas as pd

from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS

FOUND = "no: the key is found"
# Points of the survey, and our judgement of each.
USE = {
    "none": "—",
    "gaussian_blur-7": "no: it is deblurred",
    "pixelate-2": "no",
    "pixelate-4": "only where coarse shapes may show",
    "pixelate-8": "only where a thumbnail may show; there is no key to lose",
    "random_filter-5-dataset": FOUND,
    "random_filter-7-image": "as pixelate k=8: less like the original, as often recognised",
    "block_scramble-4-dataset": FOUND,
    "block_scramble-8-dataset": FOUND,
    "block_scramble-4-image": "as pixelate k=4",
    "block_scramble-8-image": "as pixelate k=8",
    "block_scramble-16-image": "where little accuracy is enough",
    "block_mix-4-dataset": FOUND,
    "block_mix-8-image": "no: costs more than it hides",
    "gaussian_noise-100-dataset": "no: the field is found",
    "gaussian_noise-100-image": "no: costs more than it hides",
    "gaussian_noise-200-image": "no: costs more than it hides",
}
COLUMNS = ("perturbation", "accuracy", "SSIM at L0", "L1", "L2", "recognised at L1", "key found at L1", "use it?")


def survey_page(points: pd.DataFrame) -> str:
    """The points of `USE` as a table in Markdown.

    Args:
        points: see `studies.survey.tables.points_table`.

    Raises:
        PrivpipeError: a point is missing.
    """
    by_name = {str(row["point"]): row for row in points.to_dict("records")}
    missing = [name for name in USE if name not in by_name]
    if missing:
        raise PrivpipeError(f"the survey has no points {', '.join(missing)}. Measure them: `make survey`.")
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name, use in USE.items():
        row = by_name[name]
        ssim = [f"{round(row[f'l{level}_ssim'], 2) + 0:.2f}" for level in range(3)]
        key = row["l1_key_recovery"]
        told = [percent(row["l1_recognised"]), "" if pd.isna(key) else percent(key)]
        lines.append(f"| {' | '.join([title(row), percent(row['test_accuracy']), *ssim, *told, use])} |")
    return "\n".join(lines) + "\n"


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def title(row: dict[str, Any]) -> str:
    """A point in words."""
    if row["method"] == "none":
        return "none"
    method = PERTURBATIONS[row["method"]]
    words = [f"{row['method']} sigma={row['sigma']:g}" if row["sigma"] else f"{row['method']} k={row['k']}"]
    return ", ".join([*words, f"scope {row['scope']}"] if method.keyed else words)
