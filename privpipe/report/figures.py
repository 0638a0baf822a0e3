"""The figures of one experiment. Pure functions from arrays and tables to matplotlib figures."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from privpipe.files import write_bytes
from privpipe.perturb import PERTURBATIONS, KeyStream, Perturbation
from privpipe.perturb.method import Drawing
from privpipe.perturb.settings import Settings
from privpipe.report.display import displayable
from privpipe.salt import salted_png
from privpipe.store import Store

if TYPE_CHECKING:
    import pandas as pd  # the stage that scores draws one figure, of no table

Array = NDArray[Any]
Example = tuple[str, Array]

STYLE: Any = {  # its declared type is a Literal of every setting
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 120,
    "savefig.dpi": 120,
    "text.parse_math": False,  # a class may be called $10_$20
}
EXAMPLE_CLASS = "automobile"  # the study shows a car
BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#718096"

# Whoever reads an image of a secret kernel or permutation has the key. So keyed methods are illustrated with
# a key that is public and used for nothing else.
DEMONSTRATION = KeyStream(b"privpipe's public illustrations.")


def save(figure: Figure, path: str | Path, kind: str = "png", salt: str = "") -> None:
    """Write a figure as `png` or `svg`, atomically; the same figure gives the same bytes.

    Args:
        salt: of a PNG that shows an original (see `privpipe.salt`).
    """
    content = drawn(figure, kind)
    write_bytes(path, salted_png(content, salt) if salt else content)


def drawn(figure: Figure, kind: str = "png") -> bytes:
    """A figure as a file's content, `png` or `svg`; the same figure gives the same bytes."""
    undated = {"Date": None} if kind == "svg" else None
    content = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "privpipe"}):
        figure.savefig(content, format=kind, bbox_inches="tight", facecolor="white", metadata=undated)
    return content.getvalue()


def example_row(store: Store) -> int:
    """The first test image of a car, or the very first where there is none."""
    names, labels = store.header.class_names, store.labels("test")
    cars = (labels == names.index(EXAMPLE_CLASS)).nonzero()[0] if EXAMPLE_CLASS in names else []
    return int(cars[0]) if len(cars) else 0


def note(text: str, size: tuple[float, float]) -> Figure:
    """Words in place of a figure that cannot be drawn.

    Args:
        size: in inches.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
        axes.set_axis_off()
    return figure


def demonstration(
    method: str, image_size: int, k: int, scope: str, sigma: float, settings: Settings | None = None
) -> Perturbation:
    """The method with the public demonstration key."""
    return PERTURBATIONS[method](image_size, k, scope, sigma, DEMONSTRATION, **(settings or {}))


def examples(original: Array, perturbed: Example, others: Sequence[Example]) -> Figure:
    """One image: as it is, as this experiment uploads it, and under other settings (figures 4, 6, 8 and 10).

    Args:
        original: uint8 (H, W, C).
        perturbed, others: a title and an 8-bit image each.
    """
    images = [("original", original), perturbed, *others]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.9 * len(images), 2.3), layout="constrained")
        for axes, (title, image) in zip(np.ravel(figure.subplots(1, len(images))), images, strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set_title(title)
            axes.set_axis_off()
    return figure


def paper_examples(
    original: NDArray[np.uint8], method: str, k: int, scope: str, sigma: float, settings: Settings | None = None
) -> list[Example]:
    """The image under other usual sizes, with the demonstration key where the method has one."""
    out = []
    for size in PERTURBATIONS[method].usual_sizes:
        if size == k or size not in (PERTURBATIONS[method].legal_k(len(original)) or []):
            continue
        other = demonstration(method, len(original), size, scope, sigma, settings)
        key = "\n(demonstration key)" if other.keyed else ""
        out.append((f"k = {size}{key}", displayable(other.apply(original[None])[0], other.image_range)))
    return out


def method_figure(
    method: str, image_size: int, k: int, scope: str, sigma: float, settings: Settings | None = None
) -> Figure:
    """What the method does, as it says itself: its kernel, its permutation or matrix of one block, its noise, or words.

    Keyless methods are shown as they are, keyed ones with the demonstration key.
    """
    drawing = demonstration(method, image_size, k, scope, sigma, settings).drawing()
    return figure_of(drawing, "\n(demonstration key)" if PERTURBATIONS[method].keyed else "")


def figure_of(drawing: Drawing, key: str = "") -> Figure:
    """What a method says of itself, as a figure.

    Args:
        key: a further line of the title, where it was drawn with some key.
    """
    size = (4.6, 3.6)
    if drawing.values is None:
        return note(drawing.title, size)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        _matrix(figure, figure.subplots(), drawing.values, drawing.title + key, drawing.whole)
    return figure


def _matrix(figure: Figure, axes: Axes, values: Array, title: str, whole: bool = False) -> None:
    """A heat map of a matrix, with its numbers where they fit."""
    limit = float(np.abs(values).max()) or 1.0
    low = 0.0 if values.min() >= 0 else -limit
    image = axes.imshow(values, cmap="viridis" if low == 0 else "RdBu_r", vmin=low, vmax=limit)
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    if len(values) <= 8:
        for (row, column), value in np.ndenumerate(values):
            fraction = (float(value) - low) / (limit - low)
            light = fraction < 0.45 if low == 0 else not 0.2 < fraction < 0.8
            text = f"{value:d}" if whole else f"{value:.2f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if light else "black")
    if not whole:
        figure.colorbar(image, ax=axes, shrink=0.8)


def training_curves(curve: "pd.DataFrame", chance: float) -> Figure:
    """Losses and validation accuracy by epoch.

    Args:
        curve: columns epoch, train_loss, val_loss, val_accuracy.
        chance: accuracy of guessing.
    """
    if curve.empty:
        return note("no epochs: the model was fitted to the numbers of the release in one step", (8, 1))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(curve["epoch"], curve["train_loss"], marker="o", color=BLUE, label="training")
        left.plot(curve["epoch"], curve["val_loss"], marker="o", color=ORANGE, label="validation")
        left.set(xlabel="epoch", ylabel="cross-entropy loss", ylim=(0, None))
        left.legend(frameon=False)
        right.plot(curve["epoch"], curve["val_accuracy"], marker="o", color=ORANGE)
        right.axhline(chance, color=GREY, linestyle="--", linewidth=1)
        right.annotate("chance", (curve["epoch"].iloc[0], chance), (0, 3), textcoords="offset points", color=GREY)
        right.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1))
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def confusion(table: "pd.DataFrame") -> Figure:
    """The confusion matrix.

    Args:
        table: actual classes as rows, predicted ones as columns, fractions of the actual class as values.
    """
    size = min(2.2 + 0.42 * len(table), 20.0)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(size + 0.8, size), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(table, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(table.columns)), list(table.columns), rotation=45, ha="right")
        axes.set_yticks(range(len(table.index)), list(table.index))
        axes.set(xlabel="predicted", ylabel="actual")
        if len(table) <= 20:
            for (row, column), value in np.ndenumerate(table.to_numpy()):
                colour = "white" if value > 0.5 else "black"
                axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=colour)
        figure.colorbar(image, ax=axes, shrink=0.8, label="fraction of the actual class")
    return figure


def descrambler_histogram(histogram: "pd.DataFrame", reason: str | None) -> Figure:
    """Figure 13 of the study: in how many blocks the inferred descrambler has so many pixels right.

    Args:
        histogram: columns pixels_right, blocks, blocks_by_chance; empty where nothing was measured.
        reason: why nothing was measured.
    """
    size = (6.4, 3.2)
    if histogram.empty:
        return note(f"not measured:\n{reason}", size)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        x = histogram["pixels_right"]
        axes.bar(x - 0.2, histogram["blocks"], 0.4, color=BLUE, label="learned descrambler")
        axes.bar(x + 0.2, histogram["blocks_by_chance"], 0.4, color=GREY, label="chance (random permutation)")
        # Far beyond what occurs, all bars are invisible: show up to the last that is not.
        shown = x[(histogram["blocks"] > 0) | (histogram["blocks_by_chance"] >= 0.01)].max()
        axes.set_xlim(-0.7, max(shown, 4) + 0.7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=f"right pixels of the {x.max()} in a block", ylabel="blocks")
        axes.legend(frameon=False)
    return figure
