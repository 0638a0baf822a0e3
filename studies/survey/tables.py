"""The tables of the survey: one of its points, one of all attacks on them."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from privpipe.errors import PrivpipeError
from privpipe.pipeline.ledger import read_rows
from studies.survey.columns import COLUMNS, TEXT

LEVELS = ("l0", "l1", "l2", "l3")
ACCURACY = ("val_accuracy", "test_accuracy", "test_accuracy_low", "test_accuracy_high")

Point = dict[str, Any]


def load_points(path: str | Path) -> list[Point]:
    """What was measured of each point, by the names of `COLUMNS`; without parameters that its method does not take.

    Raises:
        PrivpipeError: the file is missing, holds no points, or is damaged.
    """
    rows = [dict(zip(COLUMNS, cells, strict=True)) for cells in read_rows(Path(path), COLUMNS)]
    try:
        points: list[Point] = [
            {name: cell if name in TEXT else json.loads(cell) for name, cell in row.items()} for row in rows
        ]
    except ValueError as error:
        raise PrivpipeError(f"cannot read {path}: {error}. Make it with `dvc --cd studies/survey repro`.") from error
    for point in points:
        point["parameters"] = {name: value for name, value in point["parameters"].items() if value is not None}
    if not points:
        raise PrivpipeError(f"{path} holds no points. Make it with `dvc --cd studies/survey repro`.")
    return points


def points_table(points: list[Point]) -> pd.DataFrame:
    """One row for each point: its parameters, accuracy, all of its privacy metrics, and what it was measured by.

    `l0_privacy` to `l3_privacy` are 1 - SSIM of the best reconstruction of that level, at least 0; 1 where no attack
    brought images, but nothing for a key with which nobody knows how to restore (L3).
    """
    rows = []
    for point in points:
        privacy = {f"{level}_privacy": 1 - min(1.0, point["privacy"][f"{level}_ssim"] or 0.0) for level in LEVELS}
        if point["privacy"]["l3_ssim"] is None:
            privacy["l3_privacy"] = math.nan
        accuracy = {name: point["evaluate"][name] for name in ACCURACY}
        by = {"precision": point["train"]["precision"], "processor": point["processor"], "code": point["code"]}
        rows.append({"point": point["group"], **point["parameters"], **accuracy, **privacy, **point["privacy"], **by})
    return pd.DataFrame(rows)


def attacks_table(points: list[Point]) -> pd.DataFrame:
    """One row for each attack on each point, at each level and number of known pairs."""
    return pd.DataFrame(
        [
            {"point": point["group"], **point["parameters"], **attempt}
            for point in points
            for attempt in point["attempts"]
        ]
    )
