"""Figures of what perturbations hide: reconstructions beside originals, and accuracy against measured privacy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from privpipe.perturb import METHODS
from privpipe.perturb.base import Array, Images
from privpipe.report.display import displayable
from privpipe.report.figures import GREY, STYLE, note

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 8  # images side by side


def reconstructions(
    originals: Images,
    targets: Array | None,
    method: str,
    reconstructed: Mapping[str, tuple[str, Images]],
) -> Figure:
    """The first test images: as they are, as they were uploaded, and as the best attack of each level shows them.

    Args:
        originals: uint8 (T, H, W, C).
        targets: the same perturbed, as stored; None where they were not uploaded one by one.
        reconstructed: by level, the attack's name and its reconstructions uint8 (T, H, W, C).
    """
    if targets is None and not reconstructed:
        return note(f"{method} releases no images, and none were reconstructed", (8, 1))
    image_range = (0.0, 255.0) if targets is None or targets.dtype == np.uint8 else (0.0, 1.0)
    rows = [("original", [*originals[:SHOWN]])]
    rows += [] if targets is None else [(method, [*targets[:SHOWN]])]
    rows += [(f"{level}: {attack}", [*images[:SHOWN]]) for level, (attack, images) in reconstructed.items()]
    count = len(rows[0][1])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.8 + 1.05 * count, 1.1 * len(rows)), layout="constrained")
        for axes, (title, images) in zip(figure.subplots(len(rows), squeeze=False).flat, rows, strict=True):
            axes.imshow(_strip(images, image_range if title == method else (0.0, 255.0)), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
            label = title.replace(": ", ":\n").replace("_", " ")
            axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def _strip(images: Sequence[Array], image_range: tuple[float, float]) -> NDArray[np.uint8]:
    """Images (H, W, C) side by side with white between them, uint8 (H, *, 3): axes of their own take longer to draw."""
    height, width = images[0].shape[:2]
    between = np.full((height, max(1, width // 16), 3), 255, np.uint8)
    parts = [part for image in images for part in (displayable(image, image_range), between)]
    return np.concatenate(parts[:-1], axis=1)


SCOPE_MARKERS = {"dataset": "o", "image": "s"}
PANELS = (("l0", "L0: the stolen file"), ("l1", "L1: and public images"), ("l2", "L2: and known pairs"))


def tradeoff(points: "pd.DataFrame", here: Mapping[str, float] | None = None) -> Figure:
    """Test accuracy against measured privacy, one panel for each level of the adversary, with the Pareto front.

    Args:
        points: the table of a survey: method, k, scope, sigma, test_accuracy, l0_privacy to l2_privacy, and the metrics
            of each point.
        here: an experiment to mark with a star: l0_privacy, l1_privacy, l2_privacy and test_accuracy.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(15, 5.6), layout="constrained")
        panels = figure.subplots(1, len(PANELS), sharex=True, sharey=True)
        for axes, (level, title) in zip(panels, PANELS, strict=True):
            privacy = points[f"{level}_privacy"]
            front = pareto_front(privacy.to_numpy(), points["test_accuracy"].to_numpy())
            axes.plot(privacy.iloc[front], points["test_accuracy"].iloc[front], color=GREY, linewidth=1.2, zorder=1)
            for (method, scope), group in points.groupby(["method", "scope"], sort=False):
                colour, marker = colour_of(method), SCOPE_MARKERS[scope]
                seen = group[f"{level}_reidentified_top1"] >= 0.5
                x, y = privacy.loc[group.index], group["test_accuracy"]
                axes.scatter(
                    x,
                    y,
                    s=34,
                    marker=marker,
                    edgecolor=colour,
                    zorder=2,
                    facecolor=[colour if s else "white" for s in seen],
                )
                for row in group.itertuples():
                    name = f"{row.sigma:g}" if row.sigma else ("" if method == "none" else f"{row.k}")
                    spot = (privacy.loc[row.Index], row.test_accuracy)
                    axes.annotate(name, spot, (4, 3), textcoords="offset points", fontsize=7, color=colour)
            nothing = float(1 - points["mean_image_ssim"].iloc[0])
            axes.axvline(nothing, color=GREY, linestyle=":", linewidth=1)
            axes.annotate(
                "the mean image",
                (nothing, 0.02),
                (-3, 0),
                textcoords="offset points",
                rotation=90,
                ha="right",
                fontsize=7,
                color=GREY,
            )
            if here is not None:
                axes.scatter(
                    here[f"{level}_privacy"], here["test_accuracy"], s=170, marker="*", color="#e53e3e", zorder=3
                )
            axes.axhline(points["chance_recognised"].iloc[0], color=GREY, linestyle="--", linewidth=1)
            axes.set(title=title, xlabel="measured privacy: 1 - SSIM of the best reconstruction", xlim=(-0.03, 1.03))
        panels[0].set(ylabel="test accuracy of the classifier", ylim=(0, None))
        figure.legend(handles=_legend(points), loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return figure


def colour_of(method: str) -> str:
    """The colour of a method's points; grey where this version does not know it."""
    return METHODS[method].colour if method in METHODS else GREY


def pareto_front(privacy: NDArray[np.float64], accuracy: NDArray[np.float64]) -> list[int]:
    """The rows that no other row beats in both, by falling accuracy; of equal ones the first."""
    front: list[int] = []
    for row in np.lexsort((-privacy, -accuracy)):
        if not front or privacy[row] > privacy[front[-1]]:
            front.append(int(row))
    return front


def _legend(points: "pd.DataFrame") -> list[Line2D]:
    def dot(label: str, marker: str, colour: str, face: str) -> Line2D:
        return Line2D([], [], marker=marker, linestyle="", color=colour, markerfacecolor=face, label=label)

    methods = [dot(m, "o", colour_of(m), colour_of(m)) for m in points["method"].unique()]
    return [
        *methods,
        dot("scope dataset", "o", GREY, GREY),
        dot("scope image", "s", GREY, GREY),
        dot("over half re-identified", "o", GREY, GREY),
        dot("under half", "o", GREY, "white"),
        Line2D([], [], color=GREY, linewidth=1.2, label="Pareto front"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=1, label="guessing the class"),
    ]
