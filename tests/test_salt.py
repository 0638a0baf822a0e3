"""Salts: a file's published digest and size confirm no guess of what it holds, and its content stays as it was."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from privpipe.files import json_text
from privpipe.report.figures import save
from privpipe.salt import derived_salt, salted_html, salted_json, salted_png

ROUND = 64 << 10  # bytes, as docs/design.md says

SALT, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def png(seed: int, side: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_salts_of_files_differ_and_do_not_contain_each_other() -> None:
    made = [derived_salt(SALT, what) for what in ("leaked", "page")] + [derived_salt(OTHER, "page")]
    assert len({SALT, *made}) == 4
    assert {len(salt) for salt in made} == {32}
    assert derived_salt("", "page") == ""


@pytest.mark.parametrize("side", [1, 8, 60, 146, 147, 148, 149, 200])
def test_a_salted_png_shows_the_same_and_has_a_round_size(side: int) -> None:
    data = png(side, side)
    salted = salted_png(data, SALT)
    assert len(salted) % ROUND == 0 and 0 < len(salted) - len(data) < ROUND + 100
    assert salted != salted_png(data, OTHER)
    with Image.open(io.BytesIO(salted)) as one, Image.open(io.BytesIO(data)) as two:
        one.load()
        assert np.array_equal(np.asarray(one), np.asarray(two))
        assert one.text["Comment"].startswith(SALT)
    assert salted_png(data, "") == data


def test_no_png_is_refused() -> None:
    with pytest.raises(ValueError, match="no complete PNG"):
        salted_png(b"GIF89a", SALT)


@pytest.mark.parametrize("text", ["", "<p>ü</p>\n", "x" * (ROUND - 1)])
def test_a_salted_page_ends_in_a_comment_and_has_a_round_size(text: str) -> None:
    salted = salted_html(text, SALT)
    assert salted.startswith(text) and salted[len(text) :].startswith(f"<!-- {SALT}") and salted.endswith(" -->\n")
    assert len(salted.encode()) % ROUND == 0
    assert salted_html(text, "") == text


@pytest.mark.parametrize("values", [{"split": []}, {"a": {"b": "ü"}, "c": None}, {"a": "x" * ROUND}])
def test_a_salted_object_has_one_entry_more_and_a_round_size(values: dict[str, object]) -> None:
    text = json_text(values)
    salted = salted_json(text, SALT)
    assert len(salted.encode()) % ROUND == 0 and salted.endswith('"\n}\n')
    again = json.loads(salted)
    assert again.pop("salt").rstrip(".") == SALT and again == values
    assert salted_json(text, "") == text


def test_a_figure_is_salted_in_place(tmp_path: Path) -> None:
    figure = Figure()
    figure.subplots().plot([1, 2])
    save(figure, tmp_path / "plain.png")
    save(figure, tmp_path / "salted.png", salt=SALT)
    assert (tmp_path / "salted.png").read_bytes() == salted_png((tmp_path / "plain.png").read_bytes(), SALT)
