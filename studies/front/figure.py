"""Test accuracy against how often an image is identified among 10,000, of everything that privpipe offers.

    python -m studies.front.figure docs/images/front.png

draws it from the committed tables: the survey's accuracies (metrics/survey.csv) beside whose image its uploads are
(studies/survey/identified.csv), and releases of whole sets and training at home (releases.csv), which were made by

    python -m privpipe.scores.release_accuracy data/private/images.h5 data/public.h5 --csv …    # and --without-labels
    python -m privpipe.scores.at_home data/private/images.h5 data/public.h5 --csv …
"""

from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from privpipe.report.figures import GREY, STYLE, save
from privpipe.report.privacy_figures import colour_of
from privpipe.scores.accuracy_rows import WITHOUT

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
POINT = ["method", "k", "scope", "sigma"]
AT_HOME = {"at_home, head": "#2b6cb0", "at_home, network": "#c53030"}
OFFSET: Any = {"textcoords": "offset points"}
PRIOR = 0.1  # percent: guessing by the class of ten
LEFT, BOTTOM = 0.06, 25  # percent: where the axes begin


def survey_points(survey: pd.DataFrame, identified: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each point of the survey with what is known of it: `known` is what is exact, else our adversary's.

    Args:
        survey: method, k, scope, sigma and test_accuracy.
        identified: a table of `privpipe.scores.identification_table`, with the same settings.
    """
    points = survey[[*POINT, "test_accuracy"]].merge(identified, on=POINT, validate="one_to_one")
    return points.assign(known=points["exactly"].fillna(points["at_least"]))


def front(points: pd.DataFrame, releases: pd.DataFrame) -> Figure:
    """The figure.

    Args:
        points: of `survey_points`.
        releases: rows of `privpipe.scores.accuracy_rows`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 6), layout="constrained")
        axes = figure.subplots()
        for method, group in points.groupby("method", sort=False):
            axes.scatter(
                100 * group["known"],
                100 * group["test_accuracy"],
                s=30,
                marker="s",
                facecolor="white",
                edgecolor=colour_of(method),
                zorder=2,
                clip_on=False,
            )
        bounded = releases[releases["epsilon"].notna()]
        for (method, public), group in bounded.groupby(["method", "public"], sort=False):
            _draw_front(axes, group, AT_HOME.get(method) or colour_of(method), public == WITHOUT)
        alone = releases[releases["method"] == "public images alone"]["accuracy"]
        for value in alone:
            axes.axhline(100 * value, color=GREY, linestyle=":", linewidth=1)
            name = "public images with their classes, alone"
            axes.annotate(name, (95, 100 * value), (0, -9), fontsize=7, color=GREY, ha="right", **OFFSET)
        axes.axvline(PRIOR, color=GREY, linestyle="--", linewidth=1)
        axes.annotate("by the class alone", (PRIOR, BOTTOM + 1), (3, 0), fontsize=7, color=GREY, rotation=90, **OFFSET)
        axes.set(xscale="log", xlim=(LEFT, 100), ylim=(BOTTOM, 80))
        axes.set_xticks([0.1, 1, 10, 100], ["0.1 %", "1 %", "10 %", "100 %"])
        _name_epsilons(axes, bounded[bounded["method"] == "dp_statistics"])
        axes.set(xlabel="identified among 10,000 candidates, the class being known", ylabel="test accuracy, %")
        figure.legend(handles=_legend(points, bounded), loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _draw_front(axes: Axes, group: pd.DataFrame, colour: str, hollow: bool) -> None:
    """Bounds of one kind of release, joined in the order of epsilon; and to the left what our adversary named."""
    group = group.sort_values("epsilon")
    most, least, accuracy = (100 * group[name] for name in ("at_most", "at_least", "accuracy"))
    style: Any = {"color": colour, "markerfacecolor": "white" if hollow else colour, "markersize": 6, "zorder": 4}
    axes.plot(most, accuracy, marker="o", linestyle="--" if hollow else "-", linewidth=1.4, **style)
    for right, left, height in zip(most, least, accuracy, strict=True):
        if pd.notna(left):
            axes.plot([max(left, LEFT), right], [height, height], color=colour, linewidth=0.6, zorder=3)
            axes.plot([max(left, LEFT)], [height], marker="|", color=colour, markersize=6, zorder=3)


def _name_epsilons(axes: Axes, releases: pd.DataFrame) -> None:
    """Above the highest point of each epsilon."""
    for epsilon, group in releases.groupby("epsilon"):
        spot = 100 * group["at_most"].iloc[0], 100 * group["accuracy"].max()
        axes.annotate(f"epsilon {epsilon:g}", spot, (-4, 7), fontsize=7, rotation=45, **OFFSET)


def _legend(points: pd.DataFrame, bounded: pd.DataFrame) -> list[Line2D]:
    lines = []
    named = bounded[["method", "settings", "public"]].drop_duplicates()
    for method, settings, public in named.itertuples(index=False):
        colour, hollow = AT_HOME.get(method) or colour_of(method), public == WITHOUT
        face = "white" if hollow else colour
        label = ", ".join(filter(None, [method, settings, public]))
        lines.append(
            Line2D(
                [], [], marker="o", linestyle="--" if hollow else "-", color=colour, markerfacecolor=face, label=label
            )
        )
    lines.append(
        Line2D([], [], marker="|", linestyle="-", linewidth=0.6, color=GREY, label="circle: at most; bar: at least")
    )
    lines.append(Line2D([], [], linestyle="", label="squares: exactly, or else at least"))
    for method in points["method"].unique():
        colour = colour_of(method)
        lines.append(Line2D([], [], marker="s", linestyle="", color=colour, markerfacecolor="white", label=method))
    return lines


def load() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The committed tables: `points` and `releases` of `front`."""
    survey, identified = pd.read_csv(ROOT / "metrics/survey.csv"), pd.read_csv(ROOT / "studies/survey/identified.csv")
    releases = pd.read_csv(HERE / "releases.csv")
    return survey_points(survey, identified), releases.fillna({"public": "", "settings": ""})


@click.command(help=__doc__)
@click.argument("target", type=click.Path(dir_okay=False))
def main(target: str) -> None:
    save(front(*load()), target)


if __name__ == "__main__":
    main()
