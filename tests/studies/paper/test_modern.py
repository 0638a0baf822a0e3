"""The same experiments under both recipes."""

import pandas as pd
import pytest
from small_sweep import ROOT

from privpipe.pipeline.grid import load_grid
from studies.paper.modern import EXPERIMENTS, modern_page

STUDY = ROOT / "studies" / "paper"


def table(accuracies: dict[tuple[str, int, str], tuple[float, ...]], recipe: str = "paper") -> pd.DataFrame:
    """Three seeds each, by group, k and network."""
    rows = [
        {"group": group, "k": k, "arch": arch, "seed": seed, "draw": 0, "test_accuracy": value, "n_test": 10_000}
        for (group, k, arch), values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(status="done", recipe=recipe)


def test_both_recipes_are_held_against_the_same_experiments() -> None:
    paper = table(
        {
            ("plain", 1, "baseline"): (0.73, 0.74, 0.75),
            ("plain", 1, "three_layer"): (0.1, 0.1, 0.1),  # another network
            ("gaussian_blur", 3, "baseline"): (0.1, 0.1, 0.1),  # a size that only the paper's recipe has
            ("gaussian_blur", 7, "baseline"): (0.69, 0.70, 0.71),
        }
    )
    modern = table(
        {
            ("plain", 1, "baseline"): (0.83, 0.84, 0.85),
            ("gaussian_blur", 7, "baseline"): (0.73, 0.74, 0.75),
            ("block_scramble", 8, "baseline"): (0.63, 0.64, 0.65),
            ("descrambler", 8, "descrambler"): (0.65, 0.66, 0.67),
        },
        "modern",
    )
    paper = pd.concat([paper, modern])  # a grid that has the modern recipe as well
    half = 4.303 / 3**0.5  # a deviation of one point, three seeds
    both = half * 2**0.5
    plain, blur, block, descrambler = modern_page(paper, modern).splitlines()[2:]
    of = [f"({mean - half:.1f} to {mean + half:.1f}; 3 runs)" for mean in (74, 84, 70, 74, 64, 66)]
    apart = [f"({mean - both:.1f} to {mean + both:.1f})" for mean in (4, 10, 20, -2)]
    assert plain == f"| unperturbed |  | 74.0 % {of[0]} |  | 84.0 % {of[1]} |  |"
    assert blur.startswith(f"| gaussian_blur k=7 | unperturbed | 70.0 % {of[2]} | 4.0 {apart[0]} | 74.0 % {of[3]} | ")
    assert blur.endswith(f"| 10.0 {apart[1]} |")
    assert block == f"| block_scramble k=8 | unperturbed | not measured |  | 64.0 % {of[4]} | 20.0 {apart[2]} |"
    assert descrambler.startswith("| descrambler k=8 | block_scramble k=8 | not measured |  | 66.0 % ")
    assert descrambler.endswith(f"| -2.0 {apart[3]} |")


def test_what_is_not_finished_is_left_out() -> None:
    modern = table({("plain", 1, "baseline"): (0.8, 0.81)})
    assert len(modern_page(modern, modern).splitlines()) == 3
    assert len(modern_page(modern, modern.assign(status="diverged")).splitlines()) == 2


@pytest.mark.parametrize("folder", [STUDY, STUDY / "small"])
def test_the_grid_has_one_size_of_each_experiment_that_the_page_knows(folder: object) -> None:
    grid = load_grid(f"{folder}/modern.yaml", f"{folder}/common.yaml")
    assert set(grid.groups) <= {group for group, _ in EXPERIMENTS}
    for name, tasks in grid.groups.items():
        assert {task.params.train.recipe for task in tasks} == {"modern"}
        assert len({task.params.perturb.k for task in tasks}) == 1, name
