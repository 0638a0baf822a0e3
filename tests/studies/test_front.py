"""The front: survey points joined with whose images they are, releases with their bounds, and the committed figure."""

import numpy as np
import pandas as pd
import pytest

from privpipe.report.privacy_figures import colour_of
from privpipe.scores.accuracy_rows import COLUMNS, WITH, WITHOUT
from studies.front.figure import POINT, ROOT, front, load, survey_points

SURVEY = pd.DataFrame(
    [["pixelate", 4, "dataset", 0.0, 0.5], ["gaussian_noise", 1, "image", 200.0, 0.3]],
    columns=[*POINT, "test_accuracy"],
)
IDENTIFIED = SURVEY[POINT].assign(exactly=[1.0, np.nan], at_most=[np.nan, 1.0], at_least=[1.0, 0.4])
RELEASES = pd.DataFrame(
    [
        ["dp_statistics", "", 3.0, 0.009, 0.004, 0.76, 5.0, 0.75, 0.77, WITH],
        ["dp_statistics", "", 1.0, 0.0024, 0.001, 0.75, 5.0, 0.74, 0.76, WITH],
        ["dp_mixtures", "", 1.0, 0.0024, 0.001, 0.6, 5.0, 0.59, 0.61, WITHOUT],
        ["at_home, network", "5 epochs", 3.0, 0.01, np.nan, 0.5, 9.0, np.nan, np.nan, ""],
        ["public images alone", "", np.nan, np.nan, np.nan, 0.73, np.nan, np.nan, np.nan, WITH],
    ],
    columns=COLUMNS,
)


def test_a_point_is_exact_where_it_can_be_and_else_what_our_adversary_does() -> None:
    assert survey_points(SURVEY, IDENTIFIED)["known"].tolist() == [1.0, 0.4]


def test_the_figure_shows_bounds_in_the_order_of_epsilon_and_points_of_the_survey() -> None:
    (axes,) = front(survey_points(SURVEY, IDENTIFIED), RELEASES).axes
    assert axes.get_xscale() == "log"
    spots = np.concatenate([points.get_offsets() for points in axes.collections])
    assert sorted(map(tuple, spots)) == [(40.0, 30.0), (100.0, 50.0)]
    (line,) = [
        one
        for one in axes.lines
        if one.get_color() == colour_of("dp_statistics") and len(one.get_xdata()) > 1 and one.get_marker() == "o"
    ]
    assert np.asarray(line.get_xdata()) == pytest.approx([0.24, 0.9])
    assert np.asarray(line.get_ydata()) == pytest.approx([75, 76])


def test_the_committed_tables_fit_together_and_nothing_is_told_more_often_than_it_can_be() -> None:
    points, releases = load()
    assert len(points) == len(pd.read_csv("metrics/survey.csv")) and points["known"].notna().all()
    for low, high in (("at_least", "exactly"), ("exactly", "at_most"), ("at_least", "at_most")):
        both = points[points[low].notna() & points[high].notna()]
        assert (both[low] <= both[high]).all()
    bounded = releases[releases["epsilon"].notna()]
    assert bounded["at_most"].notna().all()
    measured = bounded[bounded["at_least"].notna()]
    error = np.sqrt(measured["at_most"] * (1 - measured["at_most"]) / 1000)  # of 1,000 trials
    assert (measured["at_least"] <= measured["at_most"] + 3 * error).all()


def test_the_page_says_what_the_tables_say() -> None:
    _, releases = load()
    page = (ROOT / "docs" / "results.md").read_text()
    bounded = releases[releases["epsilon"].notna()]
    for row in bounded.itertuples():
        accuracy = f"{100 * row.accuracy:.1f} %"
        starts = (f"| {row.epsilon:g} | ", f"{row.public.removesuffix(' public classes')} classes | {row.epsilon:g} | ")
        lines = [line for line in page.splitlines() if any(start in line for start in starts) and accuracy in line]
        assert lines, (row.method, row.epsilon, accuracy)
