"""A kernel is found from its autocorrelation, up to its sign and a turn."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import correlate2d

from privpipe.attacks.kernel_phases import centred, kernel_from_autocorrelation, lags, turned

Doubles = NDArray[np.float64]


def autocorrelation(kernel: Doubles) -> Doubles:
    """As `lags` numbers it: each difference and its opposite together."""
    k = len(kernel)
    full = correlate2d(kernel, kernel)
    places = lags(k)
    values = np.zeros(places.max() + 1)
    for dy in range(1 - k, k):
        for dx in range(1 - k, k):
            # The first pair of weights that lie (dy, dx) apart.
            y, x = max(0, -dy), max(0, -dx)
            values[places[y * k + x, (y + dy) * k + x + dx]] += full[dy + k - 1, dx + k - 1]
    return values


def cosine(one: Doubles, other: Doubles) -> float:
    return float((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_finds_a_kernel_up_to_sign_and_turn(k: int, seed: int) -> None:
    kernel = np.random.default_rng(seed).normal(size=(k, k))
    values = autocorrelation(kernel)
    found = kernel_from_autocorrelation(values, np.eye(len(values)), k, np.random.default_rng(9))
    assert max(abs(cosine(found, kernel)), abs(cosine(found, turned(kernel)))) > 0.99999
    np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(kernel), rtol=1e-4)


def test_uses_the_precision() -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3))
    values = autocorrelation(kernel)
    precision = np.eye(len(values))
    values[3] += 0.5  # wrong, and known to be uncertain
    precision[3, 3] = 1e-9
    found = kernel_from_autocorrelation(values, precision, 3, np.random.default_rng(0))
    assert max(abs(cosine(found, kernel)), abs(cosine(found, turned(kernel)))) > 0.9999


def test_numbers_differences_of_positions() -> None:
    places = lags(3)
    assert places.shape == (9, 9)
    assert (np.diagonal(places) == 0).all()
    np.testing.assert_array_equal(places, places.T)
    assert places[0, 1] == places[4, 5] != places[1, 3]  # one to the right; one down and one to the left
    assert places.max() + 1 == 13  # (5·5 + 1) / 2


def test_moves_a_kernel_between_empty_margins_to_the_middle() -> None:
    kernel = np.zeros((5, 5))
    kernel[2:, :3] = np.random.default_rng(0).normal(size=(3, 3))
    moved = centred(kernel)
    np.testing.assert_array_equal(moved[1:4, 1:4], kernel[2:, :3])
    full = np.random.default_rng(0).normal(size=(5, 5))
    np.testing.assert_array_equal(centred(full), full)
    np.testing.assert_array_equal(centred(np.zeros((3, 3))), np.zeros((3, 3)))


def test_is_deterministic() -> None:
    values = autocorrelation(np.random.default_rng(3).normal(size=(3, 3)))
    one, other = (kernel_from_autocorrelation(values, np.eye(13), 3, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
