import numpy as np
import pandas as pd
import pytest
from PIL import Image

from privpipe.perturb import METHODS
from privpipe.report import figures


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def pixels(figure: figures.Figure, path) -> np.ndarray:
    figures.save(figure, path)
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_same_figure_gives_the_same_bytes(tmp_path, image) -> None:
    for name in ("a.png", "b.png"):
        figures.save(figures.examples(image, ("perturbed", image), []), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_paper_examples_show_the_other_sizes_of_the_study(image) -> None:
    shown = figures.paper_examples(image, "gaussian_blur", 5, "dataset", 0.0)
    assert [title for title, _ in shown] == ["k = 3", "k = 7"]
    blur = METHODS["gaussian_blur"](32, 7)
    assert np.array_equal(shown[1][1], blur.apply(image[None])[0])
    keyed = figures.paper_examples(image, "block_scramble", 16, "dataset", 0.0)
    assert [title.split("\n")[0] for title, _ in keyed] == ["k = 2", "k = 4", "k = 8"]
    assert all("demonstration key" in title for title, _ in keyed)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_an_image(tmp_path, method: str) -> None:
    legal = METHODS[method].legal_k(32)
    k = 1 if legal is None else legal[2]
    drawn = pixels(figures.method_figure(method, 32, k, "dataset", 25.0), tmp_path / "x.png")
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10


def test_the_histogram_is_drawn_or_says_why_not(tmp_path) -> None:
    rows = pd.DataFrame({"pixels_right": range(5), "blocks": [40, 20, 3, 1, 0], "blocks_by_chance": [24, 21, 16, 0, 3]})
    drawn = figures.descrambler_histogram(rows, None)
    heights = [bar.get_height() for bar in drawn.axes[0].patches]
    assert heights == [40, 20, 3, 1, 0, 24, 21, 16, 0, 3]
    why = figures.descrambler_histogram(rows.iloc[:0], "no layer")
    assert "no layer" in why.axes[0].texts[0].get_text()


def test_the_curves_hold_the_values_of_every_epoch() -> None:
    curve = pd.DataFrame(
        {"epoch": [1, 2], "train_loss": [2.0, 1.0], "val_loss": [2.1, 1.5], "val_accuracy": [0.2, 0.5]}
    )
    left, right = figures.training_curves(curve, 0.1).axes
    assert [list(line.get_ydata()) for line in left.lines] == [[2.0, 1.0], [2.1, 1.5]]
    assert list(right.lines[0].get_ydata()) == [0.2, 0.5]
    assert list(right.lines[1].get_ydata()) == [0.1, 0.1]
