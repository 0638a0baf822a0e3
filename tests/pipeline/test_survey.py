"""The survey: its points, one of them measured small, and its tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import save_bundle
from privpipe.owner.leaking import leak
from privpipe.params import check_params
from privpipe.pipeline.survey import Inputs, measure_point
from privpipe.pipeline.survey_points import load_point, load_points
from privpipe.pipeline.survey_tables import ACCURACY, attacks_table, points_table
from privpipe.report.page import SURVEY
from privpipe.scores.reference_classifier import train_reference_classifier
from privpipe.scores.registry import scores
from privpipe.store import PUBLIC

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "studies" / "survey"


def test_every_committed_point_is_legal() -> None:
    for name in load_points(COMMITTED / "points.yaml"):
        params = load_point(COMMITTED / "common.yaml", COMMITTED / "points.yaml", name)
        assert name.startswith(params.perturb.method)


def test_the_survey_that_the_report_shows_is_the_committed_one() -> None:
    assert SURVEY.read_bytes() == (COMMITTED / "results.csv").read_bytes()


def test_unknown_points_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"a point of the survey must be one of none, .*; got 'blur'"):
        load_point(COMMITTED / "common.yaml", COMMITTED / "points.yaml", "blur")
    with pytest.raises(PrivpipeError, match=r"cannot read points from .*none.yaml"):
        load_points(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("other: 1\n")
    with pytest.raises(
        PrivpipeError, match=r"cannot read points from .*empty.yaml.*Restore studies/survey/points.yaml"
    ):
        load_points(tmp_path / "empty.yaml")


def small(**perturb: Any) -> Any:
    from ruamel.yaml import YAML

    values = YAML(typ="safe").load(COMMITTED / "common.yaml")
    values["data"] |= {"source": "synthetic", "image_size": 16, "n_train": 60, "n_val": 20, "n_test": 20}
    values["train"] |= {"epochs": 1, "threads": 1}
    values["attack"] |= {"targets": 12, "pairs": 5, "network_epochs": 1}
    values["perturb"] |= perturb
    return check_params(values)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("survey")
    train, test = draw(120, 16, rng=np.random.default_rng(0)), draw(20, 16, rng=np.random.default_rng(1))
    rows = {"train": np.arange(60), "val": np.arange(60, 80), "test": np.arange(20)}
    write_images(folder / "images.h5", train, test, rows)
    write_images(folder / "public.h5", train, test, {"train": np.arange(80, 120)}, PUBLIC)
    leak(folder / "images.h5", folder / "leaked.h5", 5)
    reference_classifier = train_reference_classifier(folder / "images.h5", 1, 0, "cpu", 1)
    save_bundle(folder / "reference_classifier.safetensors", reference_classifier)
    return Inputs(
        *(folder / name for name in ("images.h5", "public.h5", "leaked.h5", "reference_classifier.safetensors"))
    )


def test_a_point_is_measured_from_files_to_scores(inputs: Inputs, tmp_path: Path) -> None:
    params = small(method="block_scramble", k=4, scope="dataset")
    result = measure_point(params, inputs, tmp_path)
    assert result["parameters"] == params.perturb.model_dump()
    assert 0 <= result["evaluate"]["test_accuracy"] <= 1
    assert result["privacy"]["l3_ssim"] == pytest.approx(1)
    assert {attempt["level"] for attempt in result["attempts"]} == {"L0", "L1", "L2", "L3"}
    for score in scores():
        assert f"l0_{score.name}" in result["privacy"]
        assert all(score.name in attempt for attempt in result["attempts"])
    assert all("found the key with a confidence of" in problem for problem in result["problems"])
    json.dumps(result, allow_nan=False)


def test_tables_have_a_row_for_each_point_and_each_attack(tmp_path: Path) -> None:
    (tmp_path / "points.yaml").write_text("points:\n  a: {method: none}\n  b: {method: pixelate}\n")
    for name, ssim in (("a", 1.0), ("b", None)):
        result = {
            "parameters": {"method": name},
            "evaluate": dict.fromkeys(ACCURACY, 0.4),
            "privacy": {f"l{level}_ssim": ssim for level in range(4)},
            "attempts": [{"level": "L0", "attack": "as_is"}, {"level": "L1", "attack": "other"}],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    points = points_table(tmp_path / "points.yaml", tmp_path)
    assert list(points["point"]) == ["a", "b"]
    assert list(points["l1_privacy"]) == [0.0, 1.0]
    assert len(attacks_table(tmp_path / "points.yaml", tmp_path)) == 4
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(PrivpipeError, match=r"cannot read .*b.json: .* Make it with `dvc --cd studies/survey repro`"):
        points_table(tmp_path / "points.yaml", tmp_path)
