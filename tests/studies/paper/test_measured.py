"""How much of the grid is measured."""

import pandas as pd

from studies.pages import TABLE, planned
from studies.paper.measured import measured_page
from studies.paper.table import load_results


def test_every_group_of_the_grid_has_its_keys_and_seeds() -> None:
    """Two seeds of one key, one of another; an experiment of another size with one run; a group without any."""
    one = load_results(TABLE).head(1).assign(group="some", method="random_filter", arch="baseline", k=3, draw=0, seed=0)
    runs = [one, one.assign(seed=1, status="diverged"), one.assign(draw=1), one.assign(k=5)]
    page = measured_page(pd.concat(runs), {"some": 9, "none yet": 2})
    assert page.splitlines()[2:] == [
        "| some | 3, 5 | baseline | 1 to 2 | 1 to 2 | 4 | 9 |",
        "| none yet |  |  |  |  | 0 | 2 |",
        "| all |  |  |  |  | 4 | 11 |",
    ]


def test_images_that_nothing_is_done_to_have_no_size() -> None:
    plain = load_results(TABLE).query("group == 'plain'")
    (line, _) = measured_page(plain, {"plain": 6}).splitlines()[2:]
    assert line.startswith("| plain |  | baseline, three_layer | 1 |")


def test_no_group_has_more_models_than_the_grid() -> None:
    results, counts = load_results(TABLE), planned()
    assert set(results["group"]) <= set(counts)
    for group, rows in results.groupby("group"):
        assert len(rows) <= counts[str(group)]
