"""Copies of originals are found, however they were changed; perturbed and other images are not."""

import io
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from leaks.find import THRESHOLD, Finder
from leaks.photos import photographs
from numpy.typing import NDArray
from PIL import Image

from privpipe.cli.png import sheet
from privpipe.owner.key import new_key
from privpipe.perturb import METHODS
from privpipe.report.figures import training_curves

SIZE = 64
ORIGINALS = photographs(40, SIZE, seed=1)
OTHERS = photographs(40, SIZE, seed=2)
FINDER = Finder(ORIGINALS)


def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def noisy(image: NDArray[np.uint8], sigma: float) -> NDArray[np.float64]:
    return image + np.random.default_rng(0).normal(0, sigma, image.shape)


CHANGES: dict[str, Any] = {
    "itself": lambda image: image,
    "JPEG": lambda image: jpeg(image, 50),
    "noise": lambda image: noisy(image, 15),
    "larger": lambda image: resized(image, 150),
    "smaller": lambda image: resized(image, 28),
    "inverted": lambda image: 255 - image,
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned": lambda image: image.transpose(1, 0, 2),
    "faint": lambda image: 100 + image / 8,
    "BGR": lambda image: image[..., ::-1],
    "one channel": lambda image: image[..., 2],
    "all at once": lambda image: 255 - jpeg(resized(image[:, ::-1], 96), 75),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_original_is_found(change: str) -> None:
    for i, image in enumerate(ORIGINALS[:8]):
        match = FINDER.best(np.ascontiguousarray(CHANGES[change](image), dtype=np.float32))
        assert match.original == i and match.score > THRESHOLD + 0.1, (i, match)


def test_an_original_in_one_channel_among_others_is_found() -> None:
    mixed = np.stack([OTHERS[0][..., 0], ORIGINALS[3][..., 1], OTHERS[1][..., 2]], axis=-1).astype(np.float32)
    assert FINDER.best(mixed).score > THRESHOLD


def figure(images: NDArray[np.uint8], inches: float) -> NDArray[np.float32]:
    """As our reports draw images: side by side with titles, by matplotlib."""
    canvas, axes = plt.subplots(2, 3, figsize=(inches, inches * 0.7))
    for i, (place, image) in enumerate(zip(axes.flat, images, strict=True)):
        place.imshow(image)
        place.set_axis_off()
        place.set_title(f"image {i}")
    file = io.BytesIO()
    canvas.savefig(file, dpi=110)
    plt.close(canvas)
    return np.asarray(Image.open(file).convert("RGB")).astype(np.float32)


@pytest.mark.parametrize("inches", [3.0, 6.4, 9.7])
@pytest.mark.parametrize("place", [0, 4])
def test_an_original_in_a_figure_is_found_and_other_images_are_not(inches: float, place: int) -> None:
    images = OTHERS[:6].copy()
    assert FINDER.best(figure(images, inches)).score < THRESHOLD - 0.08
    images[place] = ORIGINALS[7]
    match = FINDER.best(figure(images, inches))
    assert match.original == 7 and match.score > THRESHOLD + 0.1


def test_an_original_on_a_sheet_is_found() -> None:
    images = OTHERS[:25].copy()
    assert FINDER.best(sheet(images, (0, 255)).astype(np.float32)).score < THRESHOLD - 0.08
    images[17] = ORIGINALS[11]
    match = FINDER.best(sheet(images, (0, 255)).astype(np.float32))
    assert match.original == 11 and match.score > THRESHOLD + 0.1


def test_other_images_are_not_taken_for_originals() -> None:
    scores = [FINDER.best(image.astype(np.float32)).score for image in photographs(200, SIZE, seed=3)]
    assert max(scores) < THRESHOLD - 0.05


@pytest.mark.parametrize(("name", "k"), [("block_scramble", 8), ("block_scramble", 16), ("block_scramble", 32)])
def test_perturbed_images_are_not_taken_for_originals(name: str, k: int) -> None:
    """With a key for each image; what a small k or one key for all shows, it shows by design, and a match says so."""
    method = METHODS[name](SIZE, k, "image", 0.0, new_key(3).stream)
    perturbed = method.apply(ORIGINALS)
    assert max(FINDER.best(image.astype(np.float32)).score for image in perturbed) < THRESHOLD - 0.1
    assert FINDER.best(sheet(perturbed[:25], (0, 255)).astype(np.float32)).score < THRESHOLD - 0.1


def test_what_hides_nothing_is_found() -> None:
    blurred = METHODS["gaussian_blur"](SIZE, 5, "dataset", 0.0, None).apply(ORIGINALS[:8])
    assert min(FINDER.best(image.astype(np.float32)).score for image in blurred) > THRESHOLD + 0.1


@pytest.mark.parametrize("epochs", [1, 7])
def test_curves_are_not_taken_for_originals(epochs: int) -> None:
    """A dot on white has one edge, as some images have one: where most of a patch is blank, it is none."""
    curve = pd.DataFrame({"epoch": range(1, epochs + 1), "train_loss": 1.5, "val_loss": 4.7, "val_accuracy": 0.33})
    file = io.BytesIO()
    training_curves(curve, 0.33).savefig(file, dpi=120)
    assert FINDER.best(np.asarray(Image.open(file).convert("RGB")).astype(np.float32)).score < THRESHOLD - 0.05
