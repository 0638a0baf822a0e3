"""The page of guesses and measurements is of the committed tables, and its intervals are what they say."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from privpipe.errors import PrivpipeError
from studies.outcomes import (
    OUTCOMES,
    bfloat16_gain,
    images_for_key,
    loss,
    main,
    page,
    trained,
)
from studies.paper.table import load_results

ROOT = Path(__file__).parents[2]


def test_the_page_is_of_the_tables(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path / "page.md")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "page.md").read_text() == (ROOT / "docs" / "outcomes.md").read_text()


def survey(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_a_loss_of_trained_models_is_the_difference_of_their_means() -> None:
    study = load_results(ROOT / "studies" / "paper" / "results.csv")
    one, other = (trained(group, 8)(study, pd.DataFrame()) for group in ("block_scramble", "block_scramble-image"))
    lost = loss("block_scramble", "block_scramble-image", 8)(study, pd.DataFrame())
    assert lost.value == pytest.approx(one.value - other.value) and lost.runs == one.runs
    half = ((one.value - one.low) ** 2 + (other.high - other.value) ** 2) ** 0.5
    assert lost.low == pytest.approx(lost.value - half)


def test_images_lie_between_two_numbers_tried() -> None:
    result = images_for_key("p")(pd.DataFrame(), survey(point=["p"], images_for_99=[1000.0]))
    assert (result.value, result.low, result.high) == (1000, 300, 1000)
    least = images_for_key("p")(pd.DataFrame(), survey(point=["p"], images_for_99=[100.0]))
    assert (least.value, least.low, least.high) == (100, 1, 100) and "least number tried" in least.runs


def test_a_gain_is_of_the_plain_loop_in_both_precisions(tmp_path: Path) -> None:
    columns = ["model", "against plain", "against bfloat16 plain"]
    spreads = [
        dict(zip(("low", "median", "high"), values, strict=True)) for values in ((0.9, 1.0, 1.1), (1.5, 2.0, 2.2))
    ]
    known = {"machine": {"processor": "Xeon (avx512_bf16)"}, "outcome": {"tables": [{"columns": columns}]}}
    known["outcome"]["tables"][0]["rows"] = [["another", None, None], ["baseline", *spreads]]
    path = tmp_path / "training.json"
    path.write_text(json.dumps(known))
    result = bfloat16_gain(path, "baseline")(pd.DataFrame(), pd.DataFrame())
    assert (result.value, result.low, result.high) == pytest.approx((0.5, 0.9 / 2.2, 1.1 / 1.5))
    for other in ("EPYC (avx512_bf16)", "Xeon (avx512_bf16, amx_bf16)"):
        path.write_text(json.dumps(known | {"machine": {"processor": other}}))
        with pytest.raises(PrivpipeError, match="must be of a Xeon without AMX"):
            bfloat16_gain(path, "baseline")(pd.DataFrame(), pd.DataFrame())


def test_a_model_that_is_not_there_is_named() -> None:
    study = load_results(ROOT / "studies" / "paper" / "results.csv")
    with pytest.raises(PrivpipeError, match="no model of block_scramble k=5 is finished"):
        trained("block_scramble", 5)(study, pd.DataFrame())


def test_a_guess_outside_the_interval_is_said() -> None:
    study = load_results(ROOT / "studies" / "paper" / "results.csv")
    text = page(study, pd.read_csv(ROOT / "metrics" / "survey.csv"))
    assert text.count("\n| ") == len(OUTCOMES) + 1
    assert "| 1,500 images | 100 images | 1 to 100, the least number tried: fewer may do | yes |" in text
