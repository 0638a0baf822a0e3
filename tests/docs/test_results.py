"""The numbers of the documents are those of the committed tables."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
SURVEY = pd.read_csv(ROOT / "studies/survey/results.csv")
STUDY = pd.read_csv(ROOT / "studies/paper/summary.csv")
PAGE = (ROOT / "docs/results.md").read_text()
ROWS = re.findall(r"^\| (\w+[^|]*) \| (\d+) % \|((?:[^|]*\|){6})$", PAGE, re.MULTILINE)


def point(title: str) -> pd.Series:
    """The row of the survey that a row of the page is named after, such as "block_mix k=4, scope image"."""
    method, *settings = re.split(r"[ ,=]+", title)
    named = dict(zip(settings[::2], settings[1::2], strict=True))
    rows = SURVEY[SURVEY.method == method]
    for name, value in named.items():
        rows = rows[rows[name].astype(str) == value]
    (row,) = (row for _, row in rows.iterrows())
    return row


def percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.0f} %"


@pytest.mark.parametrize(("title", "accuracy", "rest"), ROWS)
def test_the_table_of_the_survey(title: str, accuracy: str, rest: str) -> None:
    row = point(title)
    assert f"{accuracy} %" == percent(row.test_accuracy)
    ssim = [f"{row[f'{level}_ssim']:z.2f}" for level in ("l0", "l1", "l2")]
    expected = [*ssim, percent(row.l1_recognised), percent(row.l1_key_recovery)]
    assert [cell.strip() for cell in rest.split("|")[:5]] == expected


def test_the_page_has_all_rows() -> None:
    assert len(ROWS) == 17


README_ROWS = {  # title: group of the study, point of the survey
    "block_scramble k=8, one key for all images": ("block_scramble", "block_scramble k=8, scope dataset"),
    "the same, a fresh key for each image": ("block_scramble-image", "block_scramble k=8, scope image"),
    "pixelate k=8": ("pixelate", "pixelate k=8"),
}


@pytest.mark.parametrize("title", README_ROWS)
def test_readme_has_accuracies_of_the_study_and_attacks_of_the_survey(title: str) -> None:
    group, where = README_ROWS[title]
    (row,) = (row for _, row in STUDY[(STUDY.group == group) & (STUDY.k == 8)].iterrows())
    assert row.seeds == 3  # no accuracy of fewer
    mean, low, high = (100 * row[f"test_accuracy{end}"] for end in ("", "_low", "_high"))
    attacked = point(where)
    key = percent(attacked.l2_key_recovery) or "no key"
    line = f"| {title} | {mean:.1f} % ({low:.1f} to {high:.1f}) | {attacked.l2_ssim:.2f} | {key} | "
    assert line in (ROOT / "README.md").read_text()


def test_the_page_has_the_committed_experiment() -> None:
    """Whoever runs it again commits its metrics, and then the paragraph about it."""
    train, evaluate, descrambler = (
        json.loads((ROOT / "metrics" / f"{name}.json").read_text()) for name in ("train", "evaluate", "descrambler")
    )
    shown = [evaluate[name] for name in ("val_accuracy", "test_accuracy", "test_accuracy_low", "test_accuracy_high")]
    shown += [descrambler[name] for name in ("blocks_exact", "pixels_right", "chance_pixels_right")]
    paragraph = PAGE.partition("## The committed experiment")[2]

    numbers = re.findall(r"\d+\.\d", paragraph)
    assert numbers == [f"{100 * value:.1f}" for value in shown]
    assert f"in {train['precision']}." in paragraph
