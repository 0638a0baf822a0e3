"""The table of releases: a row for each epsilon, its bound that of the formula, with and without labels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.scores.release_accuracy import SEEDS, main, mixtures_rows, prepared, statistics_rows
from privpipe.statistics import membership
from privpipe.statistics.accounting import mu_of
from privpipe.store import PUBLIC

IMAGES = draw(500, 16, rng=np.random.default_rng(0))
SIZES = np.bincount(IMAGES.labels[300:400])  # of the classes of the test images


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("files")
    write_images(folder / "images.h5", IMAGES, IMAGES, {"train": np.arange(300), "test": np.arange(300, 400)})
    write_images(folder / "public.h5", IMAGES, IMAGES, {"train": np.arange(400, 500)}, PUBLIC)
    return [str(folder / "images.h5"), str(folder / "public.h5")]


@pytest.mark.parametrize("words", [[], ["--without-labels"]])
def test_the_table(files: list[str], words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    settings = ["--epsilons", "1", "8", "--dims", "20", "--moments", "0", "0.3", "--mixed", "10", "--threads", "1"]
    facts, table = main([*files, *settings, *words, "--csv", str(out)])
    assert facts == "300 private images, 100 public ones, 100 test images, d = 20"
    rows = pd.read_csv(out)
    assert len(rows) == len(table.splitlines()) - 2 == 3 * 3 + (not words)
    assert (rows.method == "dp_mixtures").sum() == 3 and "30 rows of 10" in table
    assert (rows.iloc[-1].method == "public images alone") == (not words)
    for epsilon in (1, 8):
        mu, of_epsilon = mu_of(epsilon), rows[rows.epsilon == epsilon]
        expected = (SIZES * norm.cdf(norm.ppf(1 / SIZES) + mu)).sum() / 100
        assert of_epsilon.at_most.to_numpy() == pytest.approx(np.full(3, expected), rel=1e-4)
        assert (of_epsilon.low <= of_epsilon.accuracy).all() and (of_epsilon.accuracy <= of_epsilon.high).all()
        assert of_epsilon.at_least.between(0, 1).all() and (of_epsilon.minutes > 0).all()


def test_with_hardly_any_noise_rows_of_mixtures_are_worth_the_sums_without_noise(files: list[str]) -> None:
    given = prepared(*files, labels=False, dims=20)
    loud, without = mixtures_rows(given, [1e7], 10)
    assert loud.accuracy == pytest.approx(without.accuracy, abs=0.02) and SEEDS == 3


def test_the_adversary_of_a_release_with_second_moments_sees_these_as_well(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    linkage = membership.linkage
    monkeypatch.setattr(membership, "linkage", lambda *given: seen.append(given[3]) or linkage(*given))
    list(statistics_rows(prepared(*files, labels=False, dims=20), [8.0], 0.3))
    assert [(budget.mu, budget.moment) for budget in seen] == [(mu_of(8.0), 0.3)]
