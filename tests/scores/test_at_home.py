"""Training at home: rows with and without a guarantee, their bounds, and a classifier that learns under DP-SGD."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.scores import at_home
from privpipe.scores.accuracy_rows import COLUMNS
from privpipe.statistics.sampled import sampled_epsilon, sampled_identified_at_most
from privpipe.store import PUBLIC

IMAGES = draw(1100, 16, rng=np.random.default_rng(0))
PARTS = {"train": np.arange(600), "val": np.arange(600, 700), "test": np.arange(700, 900)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("files")
    write_images(folder / "images.h5", IMAGES, IMAGES, PARTS)
    write_images(folder / "public.h5", IMAGES, IMAGES, {"train": np.arange(900, 1100)}, PUBLIC)
    return [str(folder / "images.h5"), str(folder / "public.h5")]


def test_the_table(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_home, "NETWORK_RATE", 0.2)
    out = tmp_path / "rows.csv"
    words = ["--epsilons", "8", "--epochs", "1", "--threads", "1", "--without-labels", "--csv", str(out)]
    words += ["--seeds", "0", "1"]
    lines = list(at_home.main([*files, *words]))
    assert [line.splitlines()[-1].split(" | ")[0] for line in lines] == [
        "| at_home, plain",
        "| at_home, head",
        "| at_home, network",
    ]
    rows = pd.read_csv(out)
    assert list(rows.columns) == COLUMNS and rows.epsilon.isna().tolist() == [True, False, False]
    sizes = np.bincount(IMAGES.labels[700:900])
    plan = at_home.head_plan(8.0)
    bounds = sampled_identified_at_most(1 / sizes, plan.noise, plan.rate, plan.steps)
    assert rows.at_most[1] == pytest.approx((sizes * bounds).sum() / 200, rel=1e-4)
    assert rows.accuracy[0] > 0.15 and rows.accuracy[1] > 0.25  # guessing: 0.1
    assert (rows.minutes > 0).all()
    # Of two seeds the mean lies in the middle; one has no range.
    assert rows.accuracy[1] == pytest.approx((rows.low[1] + rows.high[1]) / 2, rel=1e-4) and rows.low[1] < rows.high[1]
    assert np.isnan(rows.low[2])


@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_the_noise_of_the_plans_is_what_epsilon_asks_for(epsilon: float) -> None:
    for plan in (at_home.head_plan(epsilon), at_home.network_plan(epsilon, 5)):
        assert sampled_epsilon(plan.noise, plan.rate, plan.steps) == pytest.approx(epsilon, rel=1e-6)
        assert sampled_epsilon(plan.noise, plan.rate, plan.steps) <= epsilon
