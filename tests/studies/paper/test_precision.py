"""Differences between precisions, seed by seed."""

import pandas as pd
import pytest
from small_sweep import ROOT

from privpipe.pipeline.grid import load_grid
from studies.paper.precision import differences, precision_page

STUDY = ROOT / "studies" / "paper"


def table(accuracies: dict[tuple[str, int, str], float], status: str = "done") -> pd.DataFrame:
    """By method, seed and precision."""
    rows = [
        {"group": method, "method": method, "k": 8, "seed": seed, "precision": precision, "test_accuracy": value}
        for (method, seed, precision), value in accuracies.items()
    ]
    return pd.DataFrame(rows).assign(status=status)


def test_only_pairs_are_compared() -> None:
    results = table({("none", 0, "float32"): 0.7, ("none", 0, "bfloat16"): 0.72, ("none", 1, "float32"): 0.1})
    (pair,) = differences(results).to_dict("records")
    assert (pair["seed"], pair["float32"], pair["bfloat16"]) == (0, 0.7, 0.72)
    assert differences(results.assign(status="diverged")).empty


def test_the_interval_is_of_the_differences_and_not_of_the_accuracies() -> None:
    seeds = {0: 0.5, 1: 0.6, 2: 0.7}
    results = table(
        {(name, seed, "float32"): value for name in ("none", "block_scramble") for seed, value in seeds.items()}
        | {("none", seed, "bfloat16"): value + 0.01 for seed, value in seeds.items()}
        | {("block_scramble", seed, "bfloat16"): value + 0.01 * (seed - 1) for seed, value in seeds.items()}
    )
    *each, both = precision_page(results).splitlines()[2:]
    first, second = sorted(each)
    assert first.startswith("| block_scramble k=8 | 3 | 60.00 % | 60.00 % | +0.00 (-2.48 to +2.48) |")  # 4.303 / sqrt 3
    assert second == "| unperturbed | 3 | 60.00 % | 61.00 % | +1.00 (+1.00 to +1.00) |"
    assert both.startswith("| all of these | 6 | 60.00 % | 60.50 % | +0.50 (-0.38 to +1.38) |")  # t = 2.571


@pytest.mark.parametrize("folder", [STUDY, STUDY / "small"])
def test_the_grid_has_each_seed_in_both_precisions(folder: object) -> None:
    grid = load_grid(f"{folder}/precision.yaml", f"{folder}/common.yaml")
    for name, tasks in grid.groups.items():
        trained = [(task.params.train.seed, task.params.train.precision) for task in tasks]
        assert sorted(trained) == sorted({(s, p) for s, _ in trained for p in ("bfloat16", "float32")}), name
