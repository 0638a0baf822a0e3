"""The study's figures: they hold the results and the paper's numbers, say what is missing, and are reproducible."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from scipy import stats
from test_table import row, table

from privpipe.data.synthetic import draw
from privpipe.report.display import displayable
from privpipe.report.figures import demonstration, save
from privpipe.scores.descrambler import chance_right
from studies.paper.drawings import (
    ACCURACY,
    EXAMPLES,
    PLAIN,
    accuracy_figure,
    all_figures,
    descrambler_figure,
    example_figure,
    search_figure,
)

IMAGE = draw(10, 32, rng=np.random.default_rng(0)).images[0]
NAMES = [*(f"figure-{number:02}" for number in range(4, 14)), "search", "plain"]
SEEDS = [0.72, 0.74, 0.73]
RESULTS = table(
    *(row(accuracy=v, seed=s) for s, v in enumerate(SEEDS)),
    *(row("gaussian_blur", v - 0.05, k=3, seed=s) for s, v in enumerate(SEEDS)),
    row("gaussian_blur", None, k=5),
    row("wide_blur", 0.5, k=15),
    row("block_scramble", 0.6, k=8),
    row("block_scramble-image", 0.5, k=16),
    row("descrambler", 0.61, k=2, arch="descrambler", blocks_by_right_pixels="100 100 40 0 16"),
    row("descrambler", 0.62, k=2, arch="descrambler", seed=1, blocks_by_right_pixels="200 0 40 0 16"),
    row("search", 0.7, lr=0.001, reg=0.0),
    row("search", None, lr=0.01, reg=0.0),
    row("search", 0.6, lr=0.01, reg=0.001),
)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].texts]


def dots(axes: Axes) -> list[list[float]]:
    """The accuracies of each set of dots, as drawn."""
    return [c.get_offsets()[:, 1].tolist() for c in axes.collections if isinstance(c, PathCollection)]


def places(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_figures_are_the_same_when_drawn_again(tmp_path: Path, kind: str) -> None:
    for name in ("one", "two"):
        for number, figure in ((8, example_figure(8, IMAGE)), (11, accuracy_figure(ACCURACY[11], RESULTS))):
            save(figure, tmp_path / f"{name}-{number}", kind)
        save(descrambler_figure(RESULTS), tmp_path / f"{name}-13", kind)
    for number in (8, 11, 13):
        assert (tmp_path / f"one-{number}").read_bytes() == (tmp_path / f"two-{number}").read_bytes()


def test_every_figure_is_drawn_whatever_is_missing() -> None:
    diverged = table(*(row(group, None, k=3) for group in ("gaussian_blur", "descrambler", "search")))
    for results in (RESULTS, RESULTS.iloc[:0], diverged, RESULTS.assign(recipe="modern")):
        assert list(all_figures(results, IMAGE)) == NAMES


@pytest.mark.parametrize("empty", [False, True])
def test_every_figure_can_be_written(tmp_path: Path, empty: bool) -> None:
    for name, figure in all_figures(RESULTS.iloc[:0] if empty else RESULTS, IMAGE).items():
        save(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_accuracy_by_size() -> None:
    axes = accuracy_figure(ACCURACY[5], RESULTS).axes[0]
    assert places(axes) == ["3", "5", "7", "15"]
    assert dots(axes) == [[v - 0.05 for v in SEEDS], [0.5]]
    assert texts(axes) == ["diverged", "not measured"]
    assert "validation" in axes.get_ylabel()
    (bar,) = [container for container in axes.containers if container[0].get_ydata()[0] > 0.6]
    low, high = stats.t.interval(0.95, 2, loc=0.68, scale=stats.sem(SEEDS))
    assert bar[0].get_ydata()[0] == pytest.approx(0.68)
    assert [float(caps.get_ydata()[0]) for caps in bar[1]] == pytest.approx([low, high])


def test_the_papers_numbers_our_baseline_and_chance_are_named() -> None:
    figure = accuracy_figure(ACCURACY[5], RESULTS)
    assert legend(figure) == [
        "paper: less than 5 points below its baseline",
        "mean, 95 % interval",
        "our baseline, unperturbed: 73.0 %",
        "chance: 10 %",
    ]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.69, 0.74)
    assert "paper: 58 %" in legend(accuracy_figure(ACCURACY[11], RESULTS))
    assert legend(accuracy_figure(PLAIN, RESULTS))[0] == "paper: 74 % and 67 %"


@pytest.mark.parametrize("number", ACCURACY)
def test_groups_without_runs_say_so_at_every_size(number: int) -> None:
    axes = accuracy_figure(ACCURACY[number], RESULTS.iloc[:0]).axes[0]
    assert texts(axes) == ["not measured"] * 3
    assert dots(axes) == []


def test_sizes_beyond_the_paper_and_keys_of_each_image_are_beside_it() -> None:
    figure = accuracy_figure(ACCURACY[11], RESULTS)
    assert places(figure.axes[0]) == ["2", "4", "8", "16"]
    assert dots(figure.axes[0]) == [[0.6], [0.5]]
    marks = {container[0].get_ydata()[0]: container[0].get_markerfacecolor() for container in figure.axes[0].containers}
    assert marks[0.5] == "white" and marks[0.6] != "white"
    assert "a fresh key for each image: mean, 95 % interval" in legend(figure)


def test_the_descrambler_stands_beside_the_mean_without_it() -> None:
    figure = accuracy_figure(ACCURACY[12], RESULTS)
    assert dots(figure.axes[0]) == [[0.61, 0.62]]
    means = [container[0].get_ydata()[0] for container in figure.axes[0].containers]
    assert means == pytest.approx([0.615, 0.6])
    assert texts(figure.axes[0]) == ["not measured"] * 2


def test_recipes_have_colours_of_their_own() -> None:
    both = pd.concat([RESULTS, RESULTS.assign(recipe="modern")])
    axes = accuracy_figure(ACCURACY[5], both).axes[0]
    assert len(dots(axes)) == 4
    colours = {container[0].get_color() for container in axes.containers}
    assert len(colours) == 2
    assert "our baseline, unperturbed, modern recipe: 73.0 %" in legend(accuracy_figure(ACCURACY[5], both))
    assert len(search_figure(both).axes) == 2


def test_figure_13_has_shares_of_all_runs_beside_chance() -> None:
    two, four = descrambler_figure(RESULTS).axes
    heights = [[bar.get_height() for bar in container] for container in two.containers]
    assert heights[0] == pytest.approx(np.array([300, 100, 80, 0, 32]) / 512)
    assert heights[1] == pytest.approx([9 / 24, 8 / 24, 6 / 24, 0, 1 / 24])
    named = [text.get_text() for text in two.get_legend().texts]
    assert {"paper: about 70 % none", "paper: under 5 % exact"} < set(named)
    assert "chance, a random permutation: 37.5 % none" in named
    assert "ours, paper recipe: 58.6 % none (512 blocks)" in named
    assert texts(two) == [] and texts(four) == ["not measured"]
    assert four.containers[0][0].get_height() == pytest.approx(chance_right(16, 0))


def test_the_search_says_what_diverged_and_leaves_out_what_was_not_measured() -> None:
    axes = search_figure(RESULTS).axes[0]
    assert sorted(texts(axes)) == ["60.0 %", "70.0 %", "diverged"]
    assert places(axes) == ["0.001", "0.01"]
    assert texts(search_figure(RESULTS.iloc[:0]).axes[0]) == ["search on unperturbed images: not measured"]


def test_examples_show_the_paper_sizes() -> None:
    for number, sizes in ((4, (3, 5, 7)), (6, (3, 5, 7)), (10, (2, 4, 8))):
        shown = example_figure(number, IMAGE).axes
        assert [axes.get_title().split("\n")[0] for axes in shown] == ["original", *(f"k = {k}" for k in sizes)]
        assert np.array_equal(shown[0].images[0].get_array(), IMAGE)
        assert any("demonstration key" in axes.get_title() for axes in shown) == (number != 4)


def test_figure_8_shows_another_kernel_for_each_image() -> None:
    original, *shown = example_figure(8, IMAGE).axes
    assert np.array_equal(original.images[0].get_array(), IMAGE)
    assert len(shown) == 9
    for start in (0, 3, 6):  # the images under one size
        method = demonstration("random_filter", 32, (3, 5, 7)[start // 3], "image", 0.0)
        images = [axes.images[0].get_array() for axes in shown[start : start + 3]]
        for alone, image in zip(method.apply(np.stack(3 * [IMAGE])), images, strict=True):
            assert np.array_equal(image, displayable(alone, method.image_range))
        assert not np.array_equal(images[0], images[1])


def test_a_grey_image_of_another_size_will_do() -> None:
    grey = draw(10, 16, rng=np.random.default_rng(0)).images[0, :, :, :1]
    for number in EXAMPLES:
        assert example_figure(number, grey).axes[0].images[0].get_array().shape == (16, 16, 3)
