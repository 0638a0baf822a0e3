"""The numbers of the documents are those of the committed tables."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
SURVEY = pd.read_csv(ROOT / "studies/survey/results.csv")
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


def test_there_are_rows_and_readme_repeats_two_of_them() -> None:
    assert len(ROWS) == 17
    text = (ROOT / "README.md").read_text()
    for scope, title in (("dataset", "one key for all images"), ("image", "a fresh key for each image")):
        row = point(f"block_scramble k=8, scope {scope}")
        cells = (percent(row.test_accuracy), f"{row.l2_ssim:.2f}", percent(row.l2_key_recovery))
        assert f"| {title} | {' | '.join(cells)} |" in text
    pixelate = point("pixelate k=8")
    assert f"({percent(pixelate.test_accuracy)}, {pixelate.l2_ssim:.2f})" in text
