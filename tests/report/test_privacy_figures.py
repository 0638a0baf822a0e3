"""The trade-off's Pareto front, and figures that can be drawn and are the same when drawn again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

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


POINTS = pd.DataFrame(
    {
        "method": ["none", "pixelate", "random_filter"],
        "scope": ["dataset", "dataset", "image"],
        "k": [1, 4, 3],
        "sigma": [0.0, 0.0, 0.0],
        "test_accuracy": [0.7, 0.5, 0.4],
        "l0_privacy": [0.0, 0.3, 0.6],
        "l1_privacy": [0.0, 0.25, 0.2],
        "l2_privacy": [0.0, 0.2, 0.1],
        "l0_reidentified_top1": [1.0, 0.5, 0.49],
        "l1_reidentified_top1": [1.0, 0.9, 0.8],
        "l2_reidentified_top1": [1.0, 1.0, 1.0],
        "mean_image_ssim": [0.2, 0.2, 0.2],
        "chance_recognised": [0.1, 0.1, 0.1],
    }
)


def test_the_trade_off_shows_the_points_where_its_axes_say() -> None:
    figure = tradeoff(POINTS, {"l0_privacy": 0.9, "l1_privacy": 0.8, "l2_privacy": 0.7, "test_accuracy": 0.6})
    titles = ["L0: the stolen file", "L1: and public images", "L2: and known pairs"]
    assert [axes.get_title() for axes in figure.axes] == titles
    assert figure.axes[0].get_ylabel() == "test accuracy of the classifier"
    for level, star, axes in zip(("l0", "l1", "l2"), (0.9, 0.8, 0.7), figure.axes, strict=True):
        assert axes.get_xlabel() == "measured privacy: 1 - SSIM of the best reconstruction"
        dots = [tuple(dot) for collection in axes.collections for dot in collection.get_offsets().data]
        points = zip(POINTS[f"{level}_privacy"], POINTS["test_accuracy"], strict=True)
        assert dots == [*points, (star, 0.6)]
        assert [text.get_text() for text in axes.texts] == ["", "4", "3", "the mean image"]
        mean_image, chance = (line.get_data() for line in axes.lines[1:])
        assert list(mean_image[0]) == [0.8, 0.8] and list(chance[1]) == [0.1, 0.1]
    # Only the best of both: with public images the filter is beaten.
    assert [list(axes.lines[0].get_xdata()) for axes in figure.axes] == [[0.0, 0.3, 0.6], [0.0, 0.25], [0.0, 0.2]]


def test_the_legend_says_what_colours_shapes_and_filling_mean() -> None:
    figure = tradeoff(POINTS)
    marks = {handle.get_label(): handle for handle in figure.legends[0].legend_handles}
    none, pixelate, filtered = figure.axes[0].collections
    for name, drawn in (("none", none), ("pixelate", pixelate), ("random_filter", filtered)):
        np.testing.assert_allclose(drawn.get_edgecolor()[0], to_rgba(marks[name].get_color()))
    filled = {"over half re-identified": [none, pixelate], "under half": [filtered]}
    for name, collections in filled.items():
        hollow = marks[name].get_markerfacecolor() == "white"
        assert all(hollow == (tuple(drawn.get_facecolor()[0]) == to_rgba("white")) for drawn in collections)
    shapes = {name: len(drawn.get_paths()[0].vertices) for name, drawn in (("dataset", pixelate), ("image", filtered))}
    assert shapes["dataset"] > shapes["image"]  # a circle and a square
    assert (marks["scope dataset"].get_marker(), marks["scope image"].get_marker()) == ("o", "s")
    front, _, guessing = figure.axes[0].lines
    assert marks["Pareto front"].get_linestyle() == front.get_linestyle()
    assert marks["guessing the class"].get_linestyle() == guessing.get_linestyle() != front.get_linestyle()


def test_reconstructions_show_a_row_for_each_level() -> None:
    found = {level: ("attack", IMAGES) for level in ("L0", "L1")}
    figure = reconstructions(IMAGES, (IMAGES / 255).astype(np.float16), "random_filter", found)
    assert len(figure.axes) == 4
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "original",
        "random filter",
        "L0:\nattack",
        "L1:\nattack",
    ]


def test_few_images_are_enough() -> None:
    figure = reconstructions(IMAGES[:2], IMAGES[:2], "pixelate", {"L0": ("as_is", IMAGES[:2])})
    assert len(figure.axes) == 3
    for axes in figure.axes:  # beside each other, with white between them
        strip = np.asarray(axes.images[0].get_array())
        assert strip.shape == (16, 33, 3) and (strip[:, 16] == 255).all()
        assert (np.stack([strip[:, :16], strip[:, 17:]]) == IMAGES[:2]).all()


def test_every_method_has_a_colour_of_its_own() -> None:
    assert len({method.colour for method in METHODS.values()} | {GREY}) == len(METHODS) + 1
