"""What `inspect` says and draws where files are unusual."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from privpipe.cli.inspection import as_text, inspect_file
from privpipe.cli.png import sheet
from privpipe.errors import PrivpipeError
from privpipe.store import PERTURBED, Header, create


def write(path: Path, count: int, method: str = "none", k: int = 1, shape: tuple[int, int, int] = (4, 6, 3)) -> None:
    """A file of `count` validation images, image i being all i, and no others."""
    header = Header(PERTURBED, method, k, "dataset", ("ant",), (0.0, 255.0), shape, "uint8")
    images = np.broadcast_to(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), (count, *shape))
    with create(path, header, {"train": 0, "val": count, "test": 0}) as writer:
        writer.write("val", 0, images, np.zeros(count, np.int64))


@pytest.mark.parametrize(
    ("method", "k", "falls", "words"),
    [
        ("block_scramble", 1, True, "A block of one pixel has no order to hide"),
        ("block_scramble", 2, True, "All images share one key"),
        ("block_scramble", 32, None, "can give away what they share"),
        ("block_mix", 4, True, "public images, without the key"),
        ("random_filter", 1, True, "brightness and contrast alone"),
        ("pixelate", 4, None, "No key is involved"),
        ("of_tomorrow", 2, None, "does not know the method"),
    ],
)
def test_verdicts(tmp_path: Path, method: str, k: int, falls: bool | None, words: str) -> None:
    write(tmp_path / "p.h5", 2, method, k)
    seen = inspect_file(tmp_path / "p.h5")
    assert seen["known_to_fall"] is falls
    assert words in seen["verdict"]
    assert words in as_text(seen)


def changed(path: Path, **fields: Any) -> None:
    """A file of no images with other fields than ours."""
    header = Header(PERTURBED, "block_scramble", 4, "dataset", ("ant",), (0.0, 255.0), (8, 8, 3), "uint8")
    with create(path, replace(header, **fields), {"train": 0, "val": 0, "test": 0}):
        pass


@pytest.mark.parametrize(
    "fields",
    [
        {"settings": {"of_tomorrow": 1.0}},
        {"method": "ldp_slicing", "settings": {"epsilon": -1.0}},
        {"k": 0},
        {"method": "block_permutation", "k": 0},
        {"k": -4},
        {"scope": "row"},
    ],
)
def test_settings_that_are_not_known_are_no_error(tmp_path: Path, fields: dict[str, Any]) -> None:
    changed(tmp_path / "p.h5", **fields)
    seen = inspect_file(tmp_path / "p.h5")
    assert (seen["known_to_fall"], seen["verdict"]) == (
        None,
        "This version of privpipe does not know these settings.",
    )
    assert "does not know these settings" in as_text(seen)


def test_names_in_a_file_steer_no_terminal(tmp_path: Path) -> None:
    changed(tmp_path / "p.h5", class_names=("cat", "dog\x1b]0;pwned\x07\x1b[2J"), method="\x1b[31mred")
    text = as_text(inspect_file(tmp_path / "p.h5"))
    assert "classes: 2: cat, dog?]0;pwned??[2J" in text and "method:  ?[31mred, k = 4" in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_of_the_first_64_where_there_are_no_training_images(tmp_path: Path, channels: int) -> None:
    write(tmp_path / "p.h5", 70, shape=(4, 6, channels))
    inspect_file(tmp_path / "p.h5", tmp_path / "sheet.png")
    shown = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert shown.shape == (8 * 42 + 2, 8 * 62 + 2, 3)  # 4×6 enlarged 10 times, with gaps of 2
    assert sorted({int(value) for value in shown.ravel()}) == [*range(64), 255]
    assert (shown[2 + 42 : 42 + 42, 2 + 62 : 62 + 62] == 9).all()


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    write(tmp_path / "empty.h5", 0)
    assert "no images (black is 0, white is 255)" in as_text(inspect_file(tmp_path / "empty.h5"))
    with pytest.raises(PrivpipeError, match=r"has no images to draw\. Leave out --sheet"):
        inspect_file(tmp_path / "empty.h5", tmp_path / "sheet.png")
    write(tmp_path / "two.h5", 3, shape=(4, 4, 5))
    with pytest.raises(PrivpipeError, match=r"images of 5 channels; a sheet shows 1 to 4"):
        inspect_file(tmp_path / "two.h5", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_large_images_are_not_enlarged() -> None:
    assert sheet(np.zeros((1, 100, 100, 3), np.uint8), (0.0, 255.0)).shape == (104, 104, 3)
