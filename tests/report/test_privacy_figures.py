"""The trade-off's Pareto front, and figures that can be drawn and are the same when drawn again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from privpipe.data.synthetic import draw
from privpipe.perturb import METHODS
from privpipe.report.figures import GREY, save
from privpipe.report.privacy_figures import pareto_front, reconstructions, tradeoff

ROOT = Path(__file__).parents[2]
IMAGES = draw(10, 16, rng=np.random.default_rng(0)).images


def test_the_front_holds_what_nothing_beats() -> None:
    privacy = np.array([0.0, 0.2, 0.5, 0.4, 0.9, 0.9, 0.1])
    accuracy = np.array([0.7, 0.6, 0.5, 0.5, 0.1, 0.2, 0.55])
    assert pareto_front(privacy, accuracy) == [0, 1, 2, 5]
    front = [0, 1, 2, 5]
    for row in set(range(len(privacy))) - set(front):
        assert any(privacy[j] >= privacy[row] and accuracy[j] >= accuracy[row] for j in front)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_figures_are_the_same_when_drawn_again(tmp_path: Path, kind: str) -> None:
    here = {"l0_privacy": 0.2, "l1_privacy": 0.1, "l2_privacy": 0.0, "test_accuracy": 0.5}
    for name in ("one", "two"):
        save(tradeoff(pd.read_csv(ROOT / "metrics" / "survey.csv"), here), tmp_path / f"{name}.{kind}", kind)
    assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_reconstructions_show_a_row_for_each_level() -> None:
    found = {level: ("attack", IMAGES) for level in ("L0", "L1")}
    figure = reconstructions(IMAGES, (IMAGES / 255).astype(np.float16), "random_filter", found)
    assert len(figure.axes) == 4 * 8
    assert [axes.get_ylabel() for axes in figure.axes[::8]] == [
        "original",
        "random filter",
        "L0:\nattack",
        "L1:\nattack",
    ]


def test_few_images_are_enough() -> None:
    figure = reconstructions(IMAGES[:2], IMAGES[:2], "pixelate", {"L0": ("as_is", IMAGES[:2])})
    assert len(figure.axes) == 3 * 2


def test_every_method_has_a_colour_of_its_own() -> None:
    assert len({method.colour for method in METHODS.values()} | {GREY}) == len(METHODS) + 1
