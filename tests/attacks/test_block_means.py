"""Block means survive fresh permutations; what they tell of the image is the linear estimate from exact means."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.block_means import BlockMeans
from privpipe.attacks.restoration import Prior, restore
from privpipe.perturb import METHODS, KeyStream

SIZE, STOLEN, TARGETS = 32, 500, 20
PRIVATE, PUBLIC = STOLEN + TARGETS, 1000  # images of the fixtures
KEY = KeyStream(bytes(range(32)))
Pixels = NDArray[np.uint8]


def view(private: Pixels, true_k: int, k: int, public: Pixels | None) -> AdversaryView:
    images = METHODS["block_scramble"](SIZE, true_k, "image", stream=KEY).apply(private)
    return AdversaryView("block_scramble", k, "image", 0.0, images[:STOLEN], images[STOLEN:], public)


@pytest.mark.parametrize("k", [2, 4, 8])
@pytest.mark.parametrize("level", ["L0", "L1"])
def test_is_as_good_as_pixels_that_are_not_scrambled(private: Pixels, public: Pixels, k: int, level: str) -> None:
    held = view(private, k, k, public if level == "L1" else None)
    prior = Prior.generic(SIZE, 3) if held.public is None else Prior.of(held.public)
    attempt = BlockMeans().run(held)
    pixelate = METHODS["pixelate"](SIZE, k)
    expected = restore(pixelate.apply(private[STOLEN:]), pixelate, None, prior)
    assert attempt.images is not None and attempt.key is None
    # The means here are not rounded to levels.
    assert np.abs(attempt.images - expected).max() < 8
    error, rounded = (((images - private[STOLEN:]) ** 2).mean() for images in (attempt.images, expected))
    assert error < 1.01 * rounded
    assert error < 0.8 * ((held.targets.astype(np.float64) - private[STOLEN:]) ** 2).mean()
    assert attempt.confidence is not None and attempt.confidence > 0.7


@pytest.mark.parametrize(("true", "believed"), [(8, 2), (16, 4), (32, 4)])
@pytest.mark.parametrize("level", ["L0", "L1"])
def test_blocks_that_are_too_small_give_little_confidence(
    private: Pixels, public: Pixels, true: int, believed: int, level: str
) -> None:
    found = BlockMeans().run(view(private, true, believed, public if level == "L1" else None)).confidence
    assert found is not None and found < 0.3


def test_noise_for_images_gives_no_confidence(public: Pixels) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (100, SIZE, SIZE, 3), np.uint8)
    found = BlockMeans().run(AdversaryView("block_scramble", 4, "image", 0.0, noise, noise[:1], public)).confidence
    assert found is not None and found < 0.01


def test_too_few_blocks_to_judge_by_give_no_opinion(private: Pixels) -> None:
    for k in (16, 32):
        attempt = BlockMeans().run(view(private, k, k, None))
        assert attempt.images is not None and attempt.confidence is None


def test_applies_to_scrambles_that_are_fresh() -> None:
    scramble = METHODS["block_scramble"]
    assert BlockMeans().applies(scramble(SIZE, 4, "image")) and not BlockMeans().applies(scramble(SIZE, 4, "dataset"))
    assert not BlockMeans().applies(METHODS["pixelate"](SIZE, 4, "image"))
