"""The table of noisy sums: a row for each epsilon, its bound that of the formula, with and without labels."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.scores.release_accuracy import main
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
def test_the_table(files: list[str], words: list[str]) -> None:
    settings = ["--epsilons", "1", "8", "--seeds", "2", "--dims", "20", "--moments", "0", "0.3", "--threads", "1"]
    facts, *tables = main([*files, *settings, *words])
    assert facts.startswith("300 private images, 100 public ones, 100 test images, d = 20;")
    assert len(tables) == 2
    for text in tables:
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[-2:]]
        for row, epsilon in zip(rows, (1, 8), strict=True):
            mu = mu_of(epsilon)
            assert row[:2] == [f"{epsilon}", f"{mu:.3f}"]
            assert row[3] == f"{(SIZES * norm.cdf(norm.ppf(1 / SIZES) + mu)).sum():.2f} %"  # of 100 candidates
            assert (row[-1] == "labels not used") == bool(words)
