"""The tables of the survey: a row for each point and each attack, and the committed ones are of the points."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_sweep import ROOT

from privpipe.errors import PrivpipeError
from privpipe.files import write_csv
from privpipe.pipeline.grid import load_grid
from privpipe.scores.base import Attempt, Score
from privpipe.scores.privacy import Row, metrics
from privpipe.scores.registry import SCORES, scores
from studies.survey.columns import COLUMNS, FIGURES
from studies.survey.summary import USE, survey_page
from studies.survey.tables import ACCURACY, attacks_table, load_points, points_table

SURVEY = ROOT / "studies" / "survey"


def point(name: str, ssim: float | None) -> list[str]:
    """The cells of a point."""
    cells: dict[str, Any] = {
        "parameters": {"method": name, "epsilon": None},
        "perturb": {},
        "train": {"precision": "bfloat16"},
        "evaluate": dict.fromkeys(ACCURACY, 0.4),
        "privacy": {f"l{level}_ssim": ssim for level in range(4)},
        "attempts": [{"level": "L0", "attack": "as_is", "psnr": 7.0}, {"level": "L1", "attack": "other", "psnr": None}],
        "problems": [],
    }
    assert tuple(cells) == FIGURES
    return [name, *(json.dumps(cell) for cell in cells.values()), "A processor, of one core", "c" * 16, "f" * 16]


def test_tables_have_a_row_for_each_point_and_each_attack(tmp_path: Path) -> None:
    write_csv(tmp_path / "points.csv", COLUMNS, [point("a", 1.25), point("b", None)])
    points = load_points(tmp_path / "points.csv")
    table = points_table(points)
    assert list(table["point"]) == list(table["method"]) == ["a", "b"]
    assert list(table["l1_privacy"]) == [0.0, 1.0]
    assert table["l3_privacy"][0] == 0.0 and math.isnan(table["l3_privacy"][1])  # a bound that was not measured
    assert "epsilon" not in table  # which none of the methods takes
    assert table.columns[2 : 2 + len(ACCURACY)].to_list() == list(ACCURACY)
    assert table.iloc[0, -3:].to_list() == ["bfloat16", "A processor, of one core", "c" * 16]
    attacks = attacks_table(points)
    assert list(attacks["point"]) == ["a", "a", "b", "b"]
    assert attacks["psnr"][0] == 7.0 and math.isnan(attacks["psnr"][1])


class Sharpness(Score):
    """A score of another package."""

    name = "sharpness"
    label = "sharpness"

    def measure(self, attempt: Attempt) -> float | None:
        return None


def test_every_score_has_its_columns_also_those_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES._found, "sharpness", Sharpness)
    names = [score.name for score in scores()]
    rows = [Row("L0", "as_is", 0, 9, {"ssim": 0.5, "sharpness": 0.7})]
    measured: dict[str, Any] = {
        "group": "a",
        "parameters": {"method": "a"},
        "train": {"precision": "float32"},
        "processor": "A processor",
        "code": "c" * 16,
        "evaluate": dict.fromkeys(ACCURACY, 0.4),
        "privacy": metrics(rows, {}, {}, {}),
        "attempts": [row.cells() for row in rows],
    }
    points, attacks = points_table([measured]), attacks_table([measured])
    assert "sharpness" in names and points["l1_sharpness"][0] == attacks["sharpness"][0] == 0.7
    assert {f"l{level}_{name}" for level in range(4) for name in names} <= set(points.columns)
    assert set(names) <= set(attacks.columns)


def test_the_page_has_the_points_that_are_judged_and_no_sign_before_zero() -> None:
    table = pd.read_csv(SURVEY / "results.csv")
    table.loc[table["point"] == "block_mix-8-image", ["l0_ssim", "l1_key_recovery"]] = [-0.001, 0.126]
    lines = survey_page(table).splitlines()[2:]
    assert len(lines) == len(USE)
    assert lines[0].startswith("| none | ") and " k=4 |" in lines[3]
    (mixed,) = (line.split(" | ") for line in lines if line.startswith("| block_mix k=8, scope image |"))
    assert mixed[2] == "0.00" and mixed[6] == "13 %"
    with pytest.raises(PrivpipeError, match=r"the survey has no points none\. Measure them: `make survey`"):
        survey_page(table[table["point"] != "none"])


@pytest.mark.parametrize("content", [None, "group,fingerprint\na,b\n", ",".join(COLUMNS) + "\n"])
def test_a_table_without_points_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "points.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PrivpipeError) as caught:
        load_points(path)
    assert str(caught.value) == f"{path} holds no points. Make it with `dvc --cd studies/survey repro`."


def test_a_damaged_cell_is_told(tmp_path: Path) -> None:
    write_csv(tmp_path / "points.csv", COLUMNS, [["a", *["{"] * (len(COLUMNS) - 2), "f" * 16]])
    with pytest.raises(PrivpipeError, match=r"cannot read .*points.csv: .* Make it with `dvc --cd studies/surv"):
        load_points(tmp_path / "points.csv")


def test_the_committed_points_are_those_of_the_grid_and_named_by_their_method() -> None:
    groups = load_grid(SURVEY / "params.yaml", SURVEY / "common.yaml").groups
    committed = {point["group"]: point["parameters"] for point in load_points(SURVEY / "points.csv")}
    assert committed == {name: task.params.perturb.model_dump(exclude_none=True) for name, (task,) in groups.items()}
    assert all(name.startswith(parameters["method"]) for name, parameters in committed.items())


def test_the_committed_tables_are_of_the_committed_points() -> None:
    points = load_points(SURVEY / "points.csv")
    for name, table in (("results.csv", points_table(points)), ("attacks.csv", attacks_table(points))):
        assert (SURVEY / name).read_text() == table.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def test_the_survey_that_the_report_shows_is_the_committed_one() -> None:
    assert (ROOT / "metrics" / "survey.csv").read_bytes() == (SURVEY / "results.csv").read_bytes()
