"""Pixelation against fractions, block by block."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import method, sample_images


@pytest.mark.parametrize(("size", "k", "channels"), [(16, 2, 3), (12, 3, 1), (16, 8, 3), (16, 16, 3), (12, 6, 4)])
def test_every_pixel_is_the_mean_of_its_block_with_halves_up(size: int, k: int, channels: int) -> None:
    images = sample_images(2, size, channels)
    out = method("pixelate", size, k, key=None).apply(images)
    for i, y, x, c in np.ndindex(images.shape):
        block = images[i, y // k * k : (y // k + 1) * k, x // k * k : (x // k + 1) * k, c]
        assert out[i, y, x, c] == floor(Fraction(int(block.sum()), k * k) + Fraction(1, 2))


@pytest.mark.parametrize(
    ("block", "level"), [((0, 0, 1, 1), 1), ((0, 0, 0, 1), 0), ((2, 3, 2, 3), 3), ((255,) * 4, 255)]
)
def test_ties_go_up(block: tuple[int, ...], level: int) -> None:
    image = np.array(block, np.uint8).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(method("pixelate", 2, 2, key=None).apply(image), np.full_like(image, level))


def test_k_1_is_the_identity_and_no_view() -> None:
    images = sample_images(3, 16)
    out = method("pixelate", 16, 1, key=None).apply(images)
    np.testing.assert_array_equal(out, images)
    assert not np.shares_memory(out, images)


@settings(max_examples=25, deadline=None)
@given(k=st.sampled_from([1, 2, 3, 4, 6, 12]), seed=st.integers(0, 2**32 - 1))
def test_twice_is_once_and_the_mean_stays_to_half_a_level(k: int, seed: int) -> None:
    images, pixelate = np.random.default_rng(seed).integers(0, 256, (2, 12, 12, 3), np.uint8), method("pixelate", 12, k)
    once = pixelate.apply(images)
    np.testing.assert_array_equal(pixelate.apply(once), once)
    assert np.abs(once.mean(axis=(1, 2)) - images.mean(axis=(1, 2))).max() <= 0.5


def test_the_largest_sum_does_not_overflow() -> None:
    white = np.full((1, 512, 512, 1), 255, np.uint8)
    np.testing.assert_array_equal(method("pixelate", 512, 512).apply(white), white)
