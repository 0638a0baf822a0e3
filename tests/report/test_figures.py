import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from PIL import Image

from privpipe.perturb import PERTURBATIONS
from privpipe.report import figures

# What the caption of a method's image begins with, at sigma 25; a new method is asked for no line here.
CAPTIONS = {
    "none": "none: ",
    "gaussian_blur": "Gaussian blur kernel, k = {k}",
    "random_filter": "random filter, k = {k}",
    "block_scramble": "one block of {k}×{k}: the pixel that each place receives",
    "block_permutation": "blocks of {k}×{k}: the block that each place receives",
    "block_mix": "one block of {k}×{k}: weights of its pixels in each output",
    "gaussian_noise": "gaussian_noise, sigma = 25",
    "correlated_noise": "correlated_noise, sigma = 25",
    "learnable_encryption": "one block of {k}×{k}: the nibble that each place receives, from 96 on reversed",
    "extended_learnable_encryption": "blocks of {k}×{k}: the block that each place receives",
    "pixel_based_encryption": "pixel by pixel: the value that its first colour receives, from 3 on negative",
    "encryption_then_compression": "blocks of {k}×{k}: the block that each place receives",
    "value_shuffling": "one block of {k}×{k}, 3 colours: the value that each place receives",
    "negative_positive": "one block of {k}×{k}, 3 colours: the places that are negative",
    "format_preserving": "one block of {k}×{k}, 3 colours: the places that are encrypted",
    "block_pixel_shuffle": "blocks of {k}×{k}: the block that each place receives",
    "disguised_rmt": "one block of {k}×{k}: the matrix that its rows are multiplied by",
    "dp_pix": "dp_pix, cells of {k}×{k}: the noise of one colour, scale",
    "ldp_slicing": "probability that a bit is told truly: Y, Cb, Cr, the lowest bit first",
    "pixelate": "pixelate: each block of {k}×{k} becomes its mean",
}


def labels(axes: Axes) -> tuple[str, str]:
    return axes.get_xlabel(), axes.get_ylabel()


def legend(axes: Axes) -> dict[str, object]:
    """The colour beside each text of the legend."""
    drawn = axes.get_legend()
    handles = drawn.legend_handles
    colours = [one.get_color() if isinstance(one, Line2D) else one.get_facecolor() for one in handles]
    return dict(zip([text.get_text() for text in drawn.texts], colours, strict=True))


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


def test_examples_stand_under_their_titles(image) -> None:
    other, third = image[::-1], image[:, ::-1]
    axes = figures.examples(image, ("pixelate\nk = 4", other), [("k = 8", third)]).axes
    assert [one.get_title() for one in axes] == ["original", "pixelate\nk = 4", "k = 8"]
    for one, expected in zip(axes, (image, other, third), strict=True):
        assert np.array_equal(one.images[0].get_array(), expected)


def test_paper_examples_show_the_other_sizes_of_the_study(image) -> None:
    shown = figures.paper_examples(image, "gaussian_blur", 5, "dataset", 0.0)
    assert [title for title, _ in shown] == ["k = 3", "k = 7"]
    blur = PERTURBATIONS["gaussian_blur"](32, 7)
    assert np.array_equal(shown[1][1], blur.apply(image[None])[0])
    keyed = figures.paper_examples(image, "block_scramble", 16, "dataset", 0.0)
    assert [title.split("\n")[0] for title, _ in keyed] == ["k = 2", "k = 4", "k = 8"]
    assert all("demonstration key" in title for title, _ in keyed)


def test_the_numbers_of_a_kernel_stand_in_their_cells() -> None:
    axes = figures.method_figure("gaussian_blur", 32, 3, "dataset", 0.0).axes[0]
    line = cv2.getGaussianKernel(3, 0.8)[:, 0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(x, y): f"{line[x] * line[y]:.2f}" for x in range(3) for y in range(3)}
    np.testing.assert_allclose(axes.images[0].get_array(), np.outer(line, line), atol=1e-7)


@pytest.mark.parametrize("method", PERTURBATIONS)
def test_every_method_has_an_image(tmp_path, method: str) -> None:
    legal = PERTURBATIONS[method].legal_k(32)
    k = 1 if legal is None else legal[2]
    figure = figures.method_figure(method, 32, k, "dataset", 25.0)
    drawn = pixels(figure, tmp_path / "x.png")
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
    axes = figure.axes[0]
    caption = axes.get_title() or axes.texts[0].get_text()
    assert caption.startswith(CAPTIONS.get(method, "").format(k=k))
    assert ("(demonstration key)" in caption) == PERTURBATIONS[method].keyed


def test_the_histogram_is_drawn_or_says_why_not(tmp_path) -> None:
    rows = pd.DataFrame({"pixels_right": range(5), "blocks": [40, 20, 3, 1, 0], "blocks_by_chance": [24, 21, 16, 0, 3]})
    drawn = figures.descrambler_histogram(rows, None)
    heights = [bar.get_height() for bar in drawn.axes[0].patches]
    assert heights == [40, 20, 3, 1, 0, 24, 21, 16, 0, 3]
    axes = drawn.axes[0]
    assert labels(axes) == ("right pixels of the 4 in a block", "blocks")
    names = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert names == {"learned descrambler": [40, 20, 3, 1, 0], "chance (random permutation)": [24, 21, 16, 0, 3]}
    colours = {bars.get_label(): bars[0].get_facecolor() for bars in axes.containers}
    assert legend(axes) == colours
    why = figures.descrambler_histogram(rows.iloc[:0], "no layer")
    assert why.axes[0].texts[0].get_text() == "not measured:\nno layer"


def test_the_curves_hold_the_values_of_every_epoch() -> None:
    curve = pd.DataFrame(
        {"epoch": [1, 2], "train_loss": [2.0, 1.0], "val_loss": [2.1, 1.5], "val_accuracy": [0.2, 0.5]}
    )
    left, right = figures.training_curves(curve, 0.1).axes
    assert [list(line.get_ydata()) for line in left.lines] == [[2.0, 1.0], [2.1, 1.5]]
    assert list(right.lines[0].get_ydata()) == [0.2, 0.5]
    assert list(right.lines[1].get_ydata()) == [0.1, 0.1]
    assert labels(left) == ("epoch", "cross-entropy loss") and labels(right) == ("epoch", "validation accuracy")
    assert [line.get_label() for line in left.lines] == ["training", "validation"]
    assert legend(left) == {line.get_label(): line.get_color() for line in left.lines}
    assert [(text.get_text(), text.xy) for text in right.texts] == [("chance", (1, 0.1))]


@pytest.mark.parametrize("names", [["$10_$20", "b"], ["a_b$", "c^$"], [r"$\x$", "$$"]])
def test_names_of_classes_are_no_formulas(names: list[str]) -> None:
    figure = figures.confusion(pd.DataFrame(np.eye(2), index=names, columns=names))
    assert figures.drawn(figure).startswith(b"\x89PNG")
    svg = figures.drawn(figure, "svg").decode()
    assert all(f"<!-- {name} -->" in svg for name in names)


def test_the_confusion_matrix_has_its_shares_and_names_in_their_places() -> None:
    table = pd.DataFrame([[0.75, 0.25], [0.1, 0.9]], index=["ant", "bee"], columns=["ant", "bee"])
    axes, bar = figures.confusion(table).axes
    assert labels(axes) == ("predicted", "actual") and bar.get_ylabel() == "fraction of the actual class"
    np.testing.assert_array_equal(axes.images[0].get_array(), table)
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "75", (1, 0): "25", (0, 1): "10", (1, 1): "90",
    }  # fmt: skip
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["ant", "bee"]
