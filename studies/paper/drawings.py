"""The figures of the paper, 4 to 13, with its numbers beside ours. Pure functions to matplotlib figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from privpipe.params import CLASSES
from privpipe.perturb.base import Images
from privpipe.report.display import displayable
from privpipe.report.figures import (
    BLUE,
    GREY,
    ORANGE,
    STYLE,
    demonstration,
    examples,
    note,
    paper_examples,
)
from privpipe.scores.descrambler import chance_right
from studies.paper.claims import BANDS, BLOCK, BLUR, FILTER, STATEMENTS, VALUES
from studies.paper.table import accuracy

PAPER = "#1a202c"
RECIPES = {"paper": BLUE, "modern": ORANGE}
SHADE = "#cbd5e0"
DRAWS = 3  # kernels of figure 8


@dataclass(frozen=True)
class Series:
    """Runs that are drawn in one way.

    Args:
        label: what they are, in the legend.
        groups: of the grid; the first one is the paper's.
        hollow: a mark that is not filled, for what is beside the figure's subject.
        dots: whether each run has a dot.
    """

    label: str
    groups: tuple[str, ...]
    hollow: bool = False
    dots: bool = True


@dataclass(frozen=True)
class Drawing:
    """An accuracy figure.

    Args:
        title: what it shows.
        column: of the table; each of its values has a place on the x axis.
        places: those of the paper; others come after them where they were measured.
        label: of the x axis.
        series: the figure's subject first.
    """

    title: str
    column: str
    places: tuple[int | str, ...]
    label: str
    series: tuple[Series, ...]


FILTER_SIZE, BLOCK_SIZE = "filter size k", "block size k"
ONE_KEY = Series("one key for all images", ("block_scramble", "block_scramble-large"))
FRESH_KEYS = Series("a fresh key for each image", ("block_scramble-image",), hollow=True)
WITH, WITHOUT = Series("with descrambler", ("descrambler",)), Series("without", ("block_scramble",), True, dots=False)
ACCURACY = {
    5: Drawing("Gaussian blur", "k", BLUR, FILTER_SIZE, (Series("", ("gaussian_blur", "wide_blur")),)),
    7: Drawing("random filter", "k", FILTER, FILTER_SIZE, (Series("", ("random_filter", "wide_filter")),)),
    9: Drawing("i.i.d. random filter", "k", FILTER, FILTER_SIZE, (Series("", ("random_filter-image",)),)),
    11: Drawing("block scramble", "k", BLOCK, BLOCK_SIZE, (ONE_KEY, FRESH_KEYS)),
    12: Drawing("block scramble, learned descrambler", "k", BLOCK, BLOCK_SIZE, (WITH, WITHOUT)),
}
PLAIN = Drawing("unperturbed", "arch", ("baseline", "three_layer"), "classifier", (Series("", ("plain",)),))
EXAMPLES = {4: "gaussian_blur", 6: "random_filter", 8: "random_filter", 10: "block_scramble"}


def all_figures(results: pd.DataFrame, example: Images) -> dict[str, Figure]:
    """Every figure by its name: `figure-04` to `figure-13`, `search` and `plain`.

    Args:
        results: from `load_results`; groups without finished runs are drawn as not measured.
        example: uint8 (H, W, C), the image to show.
    """
    figures = {f"figure-{number:02}": example_figure(number, example) for number in EXAMPLES}
    figures |= {f"figure-{number:02}": accuracy_figure(ACCURACY[number], results) for number in ACCURACY}
    figures["figure-13"] = descrambler_figure(results)
    return dict(sorted(figures.items())) | {"search": search_figure(results), "plain": accuracy_figure(PLAIN, results)}


def example_figure(number: int, example: Images) -> Figure:
    """Figure 4, 6, 8 or 10: one image, and what a method makes of it at each size, under the demonstration key.

    Args:
        example: uint8 (H, W, C).
    """
    original = displayable(example, (0.0, 255.0))
    if number != 8:
        first, *others = paper_examples(example, EXAMPLES[number], 0, "dataset", 0.0)
        return examples(original, first, others)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.7 * (1 + len(FILTER)), 1.75 * DRAWS), layout="constrained")
        grid = figure.add_gridspec(DRAWS, 1 + len(FILTER))
        _image(figure.add_subplot(grid[:, 0]), original, "original")
        for column, k in enumerate(FILTER, start=1):
            method = demonstration(EXAMPLES[number], len(example), k, "image", 0.0)
            shown = method.apply(np.stack([example] * DRAWS))
            for row, image in enumerate(shown):
                title = f"k = {k}\n(demonstration key)" if row == 0 else ""
                _image(
                    figure.add_subplot(grid[row, column]),
                    displayable(image, method.image_range),
                    title,
                    f"as image {row + 1}" if column == 1 else "",
                )
    return figure


def _image(axes: Axes, example: NDArray[np.uint8], title: str, label: str = "") -> None:
    axes.imshow(example, interpolation="nearest")
    axes.set(title=title, ylabel=label, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def accuracy_figure(drawing: Drawing, results: pd.DataFrame) -> Figure:
    """Validation accuracy by size or classifier, a dot for each run.

    Args:
        results: from `load_results`.
    """
    finished = results[results["status"] == "done"]
    recipes = [recipe for recipe in RECIPES if (finished["recipe"] == recipe).any()] or ["paper"]
    places = _places(drawing, finished)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(5.0, 2.0 + 1.15 * len(places)), 4.4), layout="constrained")
        axes = figure.subplots()
        handles = _paper(axes, drawing, places)
        handles += _variants(axes, drawing, places, recipes, results)
        if drawing.column == "k":
            handles += _baselines(axes, results, recipes)
        chance = f"chance: {100 / CLASSES:.0f} %"
        handles.append(axes.axhline(1 / CLASSES, color=GREY, linestyle=":", linewidth=1, label=chance))
        axes.set_xticks(range(len(places)), [str(place).replace("_", " ") for place in places])
        highest = max([0.74, *finished["val_accuracy"]])
        axes.set(xlim=(-0.5, len(places) - 0.5), ylim=(0, min(1.0, highest + 0.08)))
        axes.set(xlabel=drawing.label, ylabel="validation accuracy", title=drawing.title)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _places(drawing: Drawing, finished: pd.DataFrame) -> list[int | str]:
    """The values of the x axis: those of the paper, then others that were measured."""
    groups = [group for series in drawing.series for group in series.groups]
    measured = finished.loc[finished["group"].isin(groups), drawing.column]
    return [*drawing.places, *sorted(set(measured) - set(drawing.places))]


def _variants(
    axes: Axes, drawing: Drawing, places: Sequence[int | str], recipes: Sequence[str], results: pd.DataFrame
) -> list[Line2D]:
    """The runs of every series and recipe side by side at each place; returns their entries in the legend."""
    variants = [(recipe, series) for recipe in recipes for series in drawing.series]
    width, handles = 0.84 / len(variants), []
    for index, (recipe, series) in enumerate(variants):
        rows = results[(results["recipe"] == recipe) & results["group"].isin(series.groups)]
        for x, place in enumerate(places):
            of_place, left = rows[rows[drawing.column] == place], x + (-0.42 + index * width)
            if series == drawing.series[0]:
                _missing(axes, of_place, left + width / 2)
            _runs(axes, of_place, series, RECIPES[recipe], left, width)
        if (rows["status"] == "done").any():
            handles.append(_legend_mark(series, recipe, recipes))
    return handles


def _missing(axes: Axes, rows: pd.DataFrame, x: float) -> None:
    """Write why there is no finished run, where there is none."""
    states = set(rows["status"])
    if "done" not in states:
        why = "diverged" if "diverged" in states else "not measured"
        axes.text(x, 0.27, why, rotation=90, ha="center", va="center", color=GREY)


def _paper(axes: Axes, drawing: Drawing, places: Sequence[int | str]) -> list[Patch | Line2D]:
    """The paper's values as dashed lines and its bounds as shades; returns their entries in the legend."""
    group = drawing.series[0].groups[0]
    bands = {x: BANDS[group, place] for x, place in enumerate(places) if (group, place) in BANDS}
    values = {x: VALUES[group, place] for x, place in enumerate(places) if (group, place) in VALUES}
    for x, (low, high) in bands.items():
        axes.fill_between([x - 0.45, x + 0.45], low, high, color=SHADE, alpha=0.6, linewidth=0, zorder=0)
    for x, value in values.items():
        axes.hlines(value, x - 0.45, x + 0.45, color=PAPER, linestyle="--", linewidth=1.4, zorder=1)
    handles: list[Patch | Line2D] = []
    if bands:
        handles.append(Patch(color=SHADE, alpha=0.6, label=f"paper: {STATEMENTS[group]}"))
    if values:
        label = f"paper: {' and '.join(f'{100 * value:.0f} %' for value in values.values())}"
        handles.append(Line2D([], [], color=PAPER, linestyle="--", linewidth=1.4, label=label))
    return handles


def _runs(axes: Axes, rows: pd.DataFrame, series: Series, colour: str, left: float, width: float) -> None:
    """A dot for each finished run from `left` on, by draw and seed, and right of them the mean with its interval."""
    estimate = accuracy(rows)
    if estimate is None:
        return
    runs = rows[rows["status"] == "done"].sort_values(["draw", "seed"])["val_accuracy"]
    face = "white" if series.hollow else colour
    if series.dots:
        x = left + width * (0.12 + 0.48 * (np.arange(len(runs)) + 0.5) / len(runs))
        axes.scatter(x, runs, s=11, color=face, edgecolor=colour, linewidth=0.7, alpha=0.7, zorder=2)
    place = left + width * (0.76 if series.dots else 0.5)
    error = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
    axes.errorbar(
        *(place, estimate.mean, error), fmt="o", markersize=6, color=colour, markerfacecolor=face, capsize=3, zorder=3
    )


def _legend_mark(series: Series, recipe: str, recipes: Sequence[str]) -> Line2D:
    label = f"{series.label}: mean, 95 % interval".removeprefix(": ") + _named(recipe, recipes)
    face = "white" if series.hollow else RECIPES[recipe]
    return Line2D([], [], marker="o", linestyle="-", color=RECIPES[recipe], markerfacecolor=face, label=label)


def _named(recipe: str, recipes: Sequence[str]) -> str:
    return f", {recipe} recipe" if len(recipes) > 1 or recipe != "paper" else ""


def _baselines(axes: Axes, results: pd.DataFrame, recipes: Sequence[str]) -> list[Line2D]:
    """Our baseline on unperturbed images as a thin line, one for each recipe that has it."""
    lines, plain = [], results[(results["group"] == "plain") & (results["arch"] == "baseline")]
    for recipe in recipes:
        estimate = accuracy(plain[plain["recipe"] == recipe])
        if estimate is not None:
            label = f"our baseline, unperturbed{_named(recipe, recipes)}: {100 * estimate.mean:.1f} %"
            lines.append(axes.axhline(estimate.mean, color=RECIPES[recipe], linewidth=0.8, zorder=1, label=label))
    return lines


def descrambler_figure(results: pd.DataFrame) -> Figure:
    """Figure 13: in what fraction of blocks the inferred descrambler has so many pixels right, for k = 2 and 4.

    Args:
        results: from `load_results`; blocks are summed over runs.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4.8), layout="constrained")
        for axes, k in zip(figure.subplots(1, 2), (2, 4), strict=True):
            rows = results[(results["group"] == "descrambler") & (results["k"] == k)]
            counts = {recipe: _histogram(rows[rows["recipe"] == recipe], k) for recipe in RECIPES}
            _fractions(axes, k, {recipe: blocks for recipe, blocks in counts.items() if blocks.any()})
    return figure


def _histogram(rows: pd.DataFrame, k: int) -> NDArray[np.int64]:
    """Blocks by their number of right pixels, int64 (k² + 1,), summed over runs; zeros where nothing was measured."""
    counts = [text.split() for text in rows["blocks_by_right_pixels"] if text]
    blocks: NDArray[np.int64] = np.array(counts, np.int64).reshape(-1, k * k + 1).sum(0)
    return blocks


def _fractions(axes: Axes, k: int, counts: Mapping[str, NDArray[np.int64]]) -> None:
    """One panel of figure 13: a bar for each recipe and one for chance, at each number of right pixels."""
    pixels = np.arange(k * k + 1)
    fractions = {recipe: blocks / blocks.sum() for recipe, blocks in counts.items()}
    bars = [
        (
            f"ours, {recipe} recipe: {100 * fraction[0]:.1f} % none ({counts[recipe].sum():,} blocks)",
            RECIPES[recipe],
            fraction,
        )
        for recipe, fraction in fractions.items()
    ]
    chance = np.array([chance_right(k * k, right) for right in range(k * k + 1)])
    bars.append((f"chance, a random permutation: {100 * chance[0]:.1f} % none", GREY, chance))
    width = 0.8 / len(bars)
    for index, (label, colour, fraction) in enumerate(bars):
        axes.bar(pixels - 0.4 + (index + 0.5) * width, fraction, width, color=colour, label=label)
    if k == 2:
        none, (_, exact) = VALUES["descrambler", "blocks_none"], BANDS["descrambler", "blocks_exact"]
        axes.hlines(none, -0.45, 0.45, color=PAPER, linestyle="--", linewidth=1.4, label="paper: about 70 % none")
        axes.fill_between([3.55, 4.45], 0, exact, color=SHADE, zorder=0, label="paper: under 5 % exact")
    # Far beyond what occurs all bars are invisible.
    last = max(int(np.flatnonzero(fraction >= 0.002)[-1]) for _, _, fraction in bars)
    axes.set_xticks(pixels)
    axes.set(xlim=(-0.6, max(last, 4) + 0.6), ylim=(0, 1), xlabel=f"right pixels of the {k * k} in a block")
    axes.set(ylabel="fraction of blocks", title=f"inferred descrambler, k = {k}")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    if not counts:
        axes.text(0.6, 0.55, "not measured", transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=8)


def search_figure(results: pd.DataFrame) -> Figure:
    """Validation accuracy by learning rate and penalty (section 4.1), a panel for each recipe that has runs.

    Args:
        results: from `load_results`; of runs that differ in the seed only, the mean is shown.
    """
    rows = results[results["group"] == "search"]
    recipes = [recipe for recipe in RECIPES if (rows["recipe"] == recipe).any()]
    if not recipes:
        return note("search on unperturbed images: not measured", (5.2, 3.4))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2 * len(recipes), 3.4), layout="constrained")
        for axes, recipe in zip(figure.subplots(1, len(recipes), squeeze=False)[0], recipes, strict=True):
            _heat_map(axes, rows[rows["recipe"] == recipe])
            axes.set_title(f"search on unperturbed images, {recipe} recipe")
    return figure


def _heat_map(axes: Axes, rows: pd.DataFrame) -> None:
    rates, penalties = sorted(rows["lr"].unique()), sorted(rows["reg"].unique())
    cells = rows.groupby(["reg", "lr"])
    fractions, states = cells["val_accuracy"].mean(), cells["status"].first()
    grid = np.array([[fractions.get((reg, lr), np.nan) for lr in rates] for reg in penalties], np.float64)
    low, high = (np.nanmin(grid), np.nanmax(grid)) if np.isfinite(grid).any() else (0.0, 1.0)
    axes.imshow(grid, cmap="Blues", vmin=low, vmax=high, aspect="auto", origin="lower")
    for (row, column), fraction in np.ndenumerate(grid):
        cell = (penalties[row], rates[column])
        if np.isfinite(fraction):
            colour = "white" if fraction > low + 0.6 * (high - low) else "black"
            axes.text(column, row, f"{100 * fraction:.1f} %", ha="center", va="center", color=colour)
        elif cell in states.index:
            axes.text(column, row, "diverged", ha="center", va="center", color=GREY)
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_yticks(range(len(penalties)), [f"{penalty:g}" for penalty in penalties])
    axes.set(xlabel="learning rate", ylabel="penalty")
