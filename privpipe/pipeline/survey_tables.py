"""The tables of the survey: one of its points, one of all attempts. They know nothing of how a point is measured."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from privpipe.errors import PrivpipeError
from privpipe.pipeline.survey_points import load_points

LEVELS = ("l0", "l1", "l2", "l3")
ACCURACY = ("val_accuracy", "test_accuracy", "test_accuracy_low", "test_accuracy_high")


def points_table(points_file: str | Path, results: str | Path) -> pd.DataFrame:
    """One row for each point: its parameters, accuracy, and all of its privacy metrics.

    `l0_privacy` to `l3_privacy` are 1 - SSIM of the best reconstruction of that level, at least 0.

    Raises:
        PrivpipeError: a result is missing or damaged.
    """
    rows = []
    for point, result in _results(points_file, results):
        privacy = {f"{level}_privacy": 1 - min(1.0, result["privacy"][f"{level}_ssim"] or 0.0) for level in LEVELS}
        accuracy = {name: result["evaluate"][name] for name in ACCURACY}
        rows.append({"point": point, **result["parameters"], **accuracy, **privacy, **result["privacy"]})
    return pd.DataFrame(rows)


def attacks_table(points_file: str | Path, results: str | Path) -> pd.DataFrame:
    """One row for each attack on each point, at each level and number of known pairs."""
    rows = [
        {"point": name, **result["parameters"], **attempt}
        for name, result in _results(points_file, results)
        for attempt in result["attempts"]
    ]
    return pd.DataFrame(rows)


def _results(points_file: str | Path, results: str | Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name in load_points(points_file):
        path = Path(results) / f"{name}.json"
        try:
            found.append((name, json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            raise PrivpipeError(
                f"cannot read {path}: {error}. Make it with `dvc --cd studies/survey repro`."
            ) from error
    return found
