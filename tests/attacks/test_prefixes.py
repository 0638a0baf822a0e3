"""Sums that are taken up from those over fewer images are those over all of them."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.prefixes import KEPT, MARKS, Prefixes

Pixels = NDArray[np.uint8]
IMAGES = np.random.default_rng(0).integers(0, 256, (MARKS[1] + 2001, 2, 2, 1), np.uint8)


class Counting:
    """Sums of whole numbers, which no order changes; counts the images that it is asked for."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Pixels) -> NDArray[np.int64]:
        self.images += len(images)
        return np.asarray(images.sum(axis=0, dtype=np.int64))


def expected(images: Pixels) -> list[NDArray[np.int64]]:
    return [images[first::2].sum(axis=0, dtype=np.int64) for first in (0, 1)]


def test_any_order_of_prefixes_gives_their_sums() -> None:
    prefixes = Prefixes(Counting())
    for count in (700, 701, 2, 3, 90, MARKS[0], MARKS[0] + 1, MARKS[1] + 1, len(IMAGES), 12_000, 705, 705):
        np.testing.assert_array_equal(prefixes.halves(IMAGES[:count]), expected(IMAGES[:count]))


def test_images_are_summed_once() -> None:
    """The suite's order: all images at two levels, then fewer of them, more and more."""
    count = Counting()
    prefixes = Prefixes(count)
    for number in (len(IMAGES), len(IMAGES), 100, 300, 1000, 3000, *MARKS):
        prefixes.halves(IMAGES[:number])
    assert count.images == len(IMAGES) + 3000
    assert len(prefixes._kept) == KEPT


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images.copy(),
        lambda images: images[1:],
        lambda images: images[::2],
        lambda images: images[:, ::-1],
    ],
    ids=["copy", "other rows", "every second row", "upside down"],
)
def test_another_set_begins_anew(change: Callable[[Pixels], Pixels]) -> None:
    prefixes, images = Prefixes(Counting()), IMAGES[:600]
    prefixes.halves(images[:400])
    other = change(images)
    np.testing.assert_array_equal(prefixes.halves(other), expected(other))


def test_sums_of_large_images_are_not_kept() -> None:
    images, count = np.zeros((6, 64, 64, 3), np.uint8), Counting()
    prefixes = Prefixes(count)
    for _ in range(2):
        prefixes.halves(images)
    assert count.images == 12 and not prefixes._kept


def test_a_sum_of_floats_differs_in_rounding_alone() -> None:
    total: Callable[[Pixels], NDArray[np.float32]] = partial(np.mean, axis=0, dtype=np.float32)
    prefixes = Prefixes(lambda images: total(images) * np.float32(len(images)))
    prefixes.halves(IMAGES[:1000])
    np.testing.assert_allclose(prefixes.halves(IMAGES[:5000]), expected(IMAGES[:5000]), rtol=1e-5)
