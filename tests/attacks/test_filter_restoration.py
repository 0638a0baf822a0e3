"""Restoration from filtered images bears the error of the kernel that it is given."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.filter_restoration import restore_filtered
from privpipe.attacks.restoration import Prior, restore
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.random_filter import RandomFilter
from privpipe.perturb.values import rounding_variance

SIZE = 16
METHOD = RandomFilter(SIZE, 3, stream=KeyStream(bytes([2]) * 32))
IMAGES = draw(420, SIZE, rng=np.random.default_rng(0)).images
ORIGINALS, PRIOR = IMAGES[:20], Prior.of(IMAGES[20:])


def error(restored: NDArray[np.float32]) -> float:
    return float(((restored - ORIGINALS) ** 2).mean())


def test_with_the_true_kernel_it_is_the_restoration_with_the_key() -> None:
    filtered = METHOD.apply(ORIGINALS)
    found = restore_filtered(filtered, METHOD.weights, 0.0, PRIOR)
    expected = restore(filtered, METHOD, METHOD.weights, PRIOR)
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_allowing_for_the_error_makes_up_for_most_of_it() -> None:
    filtered = METHOD.apply(ORIGINALS)
    off = METHOD.weights + 0.02 * np.random.default_rng(1).normal(size=(3, 3))
    allowed = error(restore_filtered(filtered, off, 0.02**2, PRIOR))
    assert allowed < 0.5 * error(restore_filtered(filtered, off, 0.0, PRIOR))
    assert allowed < 0.2 * float(((ORIGINALS - PRIOR.mean) ** 2).mean())


def test_rounding_variance_is_that_of_rounding() -> None:
    exact = np.random.default_rng(0).uniform(-4, 4, 100_000)
    rounded = exact.astype(np.float16)
    assert rounding_variance(rounded) == pytest.approx(((rounded - exact) ** 2).mean(), rel=0.03)
    assert rounding_variance(np.zeros(4, np.float16)) > 0


def test_refuses_a_prior_of_images_of_another_size() -> None:
    with pytest.raises(
        PrivpipeError,
        match=r"must be of images \(72, 72, 3\) as the perturbed ones, or of windows of 32 pixels; got \(16, 16, 3\)",
    ):
        restore_filtered(np.zeros((1, 72, 72, 3), np.float16), METHOD.weights, 0.0, PRIOR)
