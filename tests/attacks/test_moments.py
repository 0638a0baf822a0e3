"""Sums over parts against NumPy's own covariances of the whole."""

import numpy as np
import pytest

from privpipe.attacks.moments import Sums, parts_of, squares
from privpipe.perturb.distances import int8_product

IMAGES = np.random.default_rng(0).normal(3, 2, (50, 2, 7)).astype(np.float32)  # (N, C, P)
PIXELS = 2 * 7


def test_parts_are_all_images_in_order() -> None:
    parts = list(parts_of(IMAGES, 8 * PIXELS))
    assert [len(part) for part in parts] == [8] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate(parts), IMAGES)
    assert [len(part) for part in parts_of(IMAGES[:3], PIXELS - 1)] == [1, 1, 1]


@pytest.mark.parametrize("step", [1, 8, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squares_are_the_sum_of_outer_products(step: int, dtype: type[np.floating]) -> None:
    total = squares((part.transpose(1, 0, 2) for part in parts_of(IMAGES, step * PIXELS)), dtype)
    assert total.dtype == dtype
    np.testing.assert_allclose(total, np.einsum("ncp,ncq->cpq", IMAGES, IMAGES), rtol=1e-5)


@pytest.mark.parametrize("step", [1, 8, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_covariances_are_those_of_numpy(step: int, dtype: type[np.floating]) -> None:
    sums = Sums.of((part.transpose(1, 0, 2) for part in parts_of(IMAGES, step * PIXELS)), dtype)
    expected = [np.cov(IMAGES[:, colour].astype(np.float64), rowvar=False, bias=True) for colour in (0, 1)]
    assert sums.count == 50 and sums.covariances().dtype == dtype
    np.testing.assert_allclose(sums.mean, IMAGES.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(sums.covariances(), expected, atol=2e-5)


@pytest.mark.skipif(int8_product() is None, reason="the processor has no products of 8 bits")
@pytest.mark.parametrize("step", [1, 8, 50])
def test_sums_of_bytes_are_exact(step: int) -> None:
    images = np.random.default_rng(1).choice(np.array([-128, -3, 0, 127], np.int8), (50, 2, 7))
    sums = Sums.of((part.transpose(1, 0, 2) for part in parts_of(images, step * PIXELS)), np.float64)
    whole = images.astype(np.int64)
    np.testing.assert_array_equal(sums.products, np.einsum("ncp,ncq->cpq", whole, whole))
    np.testing.assert_array_equal(sums.values, whole.sum(axis=0))


def test_sums_of_two_halves_are_those_of_the_whole() -> None:
    halves = [Sums.of([part.transpose(1, 0, 2)], np.float64) for part in (IMAGES[:20], IMAGES[20:])]
    before = halves[0].products.copy()
    whole = halves[0] + halves[1]
    expected = Sums.of([IMAGES.transpose(1, 0, 2)], np.float64).covariances()
    np.testing.assert_allclose(whole.covariances(), expected, atol=2e-5)
    np.testing.assert_array_equal(halves[0].products, before)
