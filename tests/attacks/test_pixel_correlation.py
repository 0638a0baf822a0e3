"""The attack as the product runs it: what it is given, and what it claims."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.base import LEVELS, AdversaryView
from privpipe.attacks.pixel_correlation import PixelCorrelation
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.block_scramble import BlockScramble

SIZE, COUNT, TARGETS = 32, 1000, 5
PRIVATE, PUBLIC = COUNT + TARGETS, COUNT  # images of the fixtures
KEY = KeyStream(bytes(range(32)))
Pixels = NDArray[np.uint8]


def view(private: Pixels, k: int, scope: str = "dataset", public: Pixels | None = None) -> AdversaryView:
    perturbed = BlockScramble(SIZE, k, scope, stream=KEY).apply(private)
    return AdversaryView("block_scramble", k, scope, 0.0, perturbed[TARGETS:], perturbed[:TARGETS], public)


@pytest.mark.parametrize("level", ["L0", "L1"])
def test_restores_images_that_it_has_not_seen(private: Pixels, public: Pixels, level: str) -> None:
    attempt = PixelCorrelation().run(view(private, 4, public=public if level == "L1" else None))
    assert attempt.images is not None and attempt.key is not None and attempt.confidence is not None
    assert attempt.images.dtype == np.float32
    assert (attempt.images == private[:TARGETS]).mean() > 0.95
    assert (attempt.key == BlockScramble(SIZE, 4, stream=KEY).dataset_key).mean() > 0.95
    assert attempt.confidence > 0.4


def test_a_permutation_for_each_image_gives_no_confidence(private: Pixels, public: Pixels) -> None:
    attempt = PixelCorrelation().run(view(private, 4, "image", public))
    assert attempt.confidence is not None
    assert attempt.confidence < 0.05


def test_blocks_of_one_pixel_are_no_scramble(private: Pixels) -> None:
    attempt = PixelCorrelation().run(view(private[:10], 1))
    assert attempt.images is not None
    np.testing.assert_array_equal(attempt.images, private[:TARGETS])
    np.testing.assert_array_equal(attempt.key, BlockScramble(SIZE, 1, stream=KEY).dataset_key)
    assert attempt.confidence == 1


def test_too_few_images_are_refused(private: Pixels) -> None:
    with pytest.raises(PrivpipeError, match="N at least 4; got uint8"):
        PixelCorrelation().run(view(private[: TARGETS + 3], 4))


def test_what_it_applies_to() -> None:
    attack = PixelCorrelation()
    assert [name for name in PERTURBATIONS if attack.applies(PERTURBATIONS[name](32, 1))] == ["block_scramble"]
    assert attack.applies(PERTURBATIONS["block_scramble"](32, 4, "image"))
    assert (attack.name, attack.seeks_key) == ("pixel_correlation", True)
    assert set(attack.levels) <= set(LEVELS)
