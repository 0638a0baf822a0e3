"""The study's tables in the documents."""

from dataclasses import dataclass

import pandas as pd
import pytest

from privpipe.errors import PrivpipeError
from studies.leaderboard.page import TABLE as OF_ENTRIES
from studies.pages import TABLE, accuracies, filled, leaderboard, title
from studies.paper.table import load_results


@dataclass(frozen=True)
class Row:
    """An experiment, as the table names it."""

    method: str = "block_scramble"
    k: int = 4
    scope: str = "dataset"
    arch: str = "baseline"
    descrambler: str = ""
    group: str = "block_scramble"
    recipe: str = "paper"
    lr: float = 0.003
    reg: float = 0.0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row(), "block_scramble k=4"),
        (Row(scope="image", recipe="modern"), "block_scramble k=4, a key for each image, recipe modern"),
        (Row("gaussian_blur", scope="image"), "gaussian_blur k=4"),  # which has no key
        (Row(arch="descrambler", descrambler="learned"), "block_scramble k=4, descrambler (learned)"),
        (Row("none", group="search"), "unperturbed, learning rate 0.003, penalty 0"),
        (Row("none", arch="three_layer"), "unperturbed, three_layer"),
    ],
)
def test_an_experiment_in_words(row: Row, expected: str) -> None:
    assert title(row) == expected


def test_accuracies_have_a_row_for_each_experiment_with_its_interval() -> None:
    results = load_results(TABLE)
    one = results[results["group"] == "plain"].head(1)
    wilson = "73.2 to 74.9"  # 7,406 of 10,000
    one = one.assign(val_accuracy=0.75, test_accuracy=0.7406)
    assert accuracies(one).splitlines()[2:] == [f"| unperturbed | 1 seed | 75.0 % | 74.1 % ({wilson}) |"]
    assert len(set(accuracies(results).splitlines())) == len(accuracies(results).splitlines()) > 3


def test_the_leaderboard_has_a_row_for_each_entry_and_nothing_where_there_is_no_number() -> None:
    one = dict.fromkeys(OF_ENTRIES, float("nan")) | {
        "scheme": "some k=4 image, vit",
        "flags": "network, not run",
        "l0_ssim": 0.126,
    }
    one |= {"accuracy": 0.5, "accuracy_low": 0.45, "accuracy_high": 0.555, "exactly": 1.0, "at_least": 0.998}
    page = leaderboard(pd.DataFrame([one, one | {"flags": float("nan")}]), ["other", "some k=4 image, vit"])
    assert page.splitlines()[2:] == [
        "| some k=4 image, vit | 50.0 % (45.0 to 55.5) | 100.0 % |  | 99.8 % | 0.13 |  |  | network, not run |",
        "| some k=4 image, vit | 50.0 % (45.0 to 55.5) | 100.0 % |  | 99.8 % | 0.13 |  |  |  |",
        "",
        "Not run yet: other.",
    ]


def test_a_page_is_filled_between_its_comments() -> None:
    page = "before\n<!-- a -->\nold\n<!-- /a -->\nafter\n"
    assert filled(page, "a", "new\n") == page.replace("old", "new")
    for wrong in (page.replace("/a", "/b"), page + page):
        with pytest.raises(PrivpipeError, match="must have `<!-- a -->` and `<!-- /a -->` once each"):
            filled(wrong, "a", "new\n")
