"""Filters stored in 8 bits beside the same ones in float16; descramblers by the strength of their regularisation."""

import pandas as pd

from studies.paper.readings_page import readings_page, strengths_page


def table(accuracies: dict[tuple[str, int, int], tuple[float, ...]], recipe: str = "paper") -> pd.DataFrame:
    """By group, k and draw, the accuracies of seeds 0, 1, ..."""
    rows = [
        {"group": group, "k": k, "draw": draw, "seed": seed, "test_accuracy": value, "n_test": 10_000}
        for (group, k, draw), values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(status="done", recipe=recipe)


RESULTS = {
    ("random_filter", 5, 0): (0.70, 0.10),  # a seed that was not stored in 8 bits
    ("random_filter", 5, 1): (0.72, 0.10),
    ("random_filter", 5, 2): (0.10, 0.10),  # a draw that was not
    ("random_filter", 3, 0): (0.20, 0.20),
    ("random_filter-image", 5, 0): (0.60, 0.62),
}


def test_the_same_filters_and_seeds_are_compared() -> None:
    results = pd.concat([table(RESULTS), table(dict.fromkeys(RESULTS, (0.9, 0.9)), "modern")])
    readings = table(
        {
            ("random_filter-8bit", 5, 0): (0.50,),
            ("random_filter-8bit", 5, 1): (0.20,),
            ("random_filter-8bit", 7, 0): (0.30,),
            ("random_filter-image-8bit", 5, 0): (0.35, 0.37),
        }
    )
    cells = [
        [cell.split(" (")[0] for cell in line.strip("| ").split(" | ")]
        for line in readings_page(results, readings).splitlines()
    ]
    assert cells[2:] == [
        ["one for all images, k = 5, draw 0", "70.0 %", "50.0 %"],
        ["one for all images, k = 5, draw 1", "72.0 %", "20.0 %"],
        ["one for all images, k = 7, draw 0", "not measured", "30.0 %"],
        ["one for each image, k = 5, draw 0", "61.0 %", "36.0 %"],
    ]


def test_a_reading_without_models_has_no_rows() -> None:
    assert len(readings_page(table(RESULTS), table(RESULTS)[:0]).splitlines()) == 2


def descramblers(reg: float, blocks: str, k: int = 2, recipe: str = "paper") -> pd.DataFrame:
    """Two runs that found the same."""
    counts = [int(count) for count in blocks.split()]
    rows = table({("descrambler", k, 0): (0.57, 0.57)}, recipe)
    found = {"blocks_exact": counts[-1] / sum(counts), "blocks_none": counts[0] / sum(counts)}
    return rows.assign(reg=reg, blocks_by_right_pixels=blocks, **found)


def test_strengths_are_in_order_beside_that_of_the_paper() -> None:
    others = [descramblers(0.001, "16 16 0 0 0", k=4), descramblers(0.0005, "256 0 0 0 0", recipe="modern")]
    results = pd.concat([descramblers(0.001, "96 85 64 0 11"), *others])
    penalty = pd.concat([descramblers(0.01, "0 0 0 0 256"), descramblers(0.0, "256 0 0 0 0")])
    none, paper, strong = strengths_page(results, penalty).splitlines()[2:]
    assert none.startswith("| 0 | 57.0 % (") and "| 0.0 % (" in none
    assert [cell.split(" %")[0] for cell in paper.strip("| ").split(" | ")] == ["0.001", "57.0", "4.3", "37.5", "70.7"]
    assert [cell.split(" %")[0] for cell in strong.strip("| ").split(" | ")] == ["0.01", "57.0", "100.0", "0.0", "0.0"]


def test_no_other_strength_leaves_that_of_the_paper() -> None:
    assert (
        len(strengths_page(descramblers(0.001, "256 0 0 0 0"), descramblers(0.0, "256 0 0 0 0")[:0]).splitlines()) == 3
    )
