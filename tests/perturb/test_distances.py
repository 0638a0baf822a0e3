"""Distances in 8 bits are those in float64: exactly of grey levels, and as near as float32 of real numbers."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from privpipe.perturb import distances
from privpipe.perturb.distances import Digits, centred, exact_products, int8_product, squared_distances

RNG = np.random.default_rng(0)
IN_8_BITS = pytest.mark.skipif(int8_product() is None, reason="the processor has no products of 8 bits")


def drawn(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def by_definition(targets: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    t, g = (values.reshape(len(values), -1).astype(np.float64) for values in (targets, gallery))
    return np.array([[((one - other) ** 2).sum() for other in g] for one in t])


@pytest.fixture(params=["8 bits", "float64"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With and without the products of 8 bits."""
    if request.param == "float64":
        monkeypatch.setattr(distances, "int8_product", lambda: None)
    elif int8_product() is None:
        pytest.skip("the processor has no products of 8 bits")
    yield


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 5), (17, 33), (20, 3072), (2, 70_000)])
def test_distances_of_grey_levels_are_exact(shape: tuple[int, int], ways: None) -> None:
    targets, gallery = drawn(*shape), drawn(7, shape[1])
    targets[0], gallery[0] = 0, 255  # as far apart as can be
    assert np.array_equal(squared_distances(targets, gallery), by_definition(targets, gallery))


@pytest.mark.parametrize("sigma", [0.0, 30.0, 3000.0])
def test_distances_of_real_numbers_are_as_near_as_float32(sigma: float, ways: None) -> None:
    targets = (drawn(9, 8, 8, 3) + RNG.normal(0, sigma, (9, 8, 8, 3))).astype(np.float32)
    targets[1] = 0
    gallery = drawn(11, 8, 8, 3)
    expected = by_definition(targets, gallery)
    assert np.abs(squared_distances(targets, gallery) - expected).max() < 1e-6 * expected.max()


def test_real_numbers_on_both_sides_are_compared_in_float64() -> None:
    targets, gallery = RNG.normal(size=(5, 40)), RNG.normal(size=(6, 40))
    assert squared_distances(targets, gallery) == pytest.approx(by_definition(targets, gallery), rel=1e-12)


@IN_8_BITS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_digits_are_off_by_no_more_than_they_say(count: int) -> None:
    rows = RNG.normal(size=(6, 50)).astype(np.float32) * np.float32(10) ** np.arange(-3, 3)[:, None]
    rows[0] = 0
    digits = Digits(rows, count, 1 << 60)
    again = digits.scales[:, None] * sum(d.astype(np.float64) * 256.0**i for i, d in enumerate(digits.digits))
    largest = np.abs(rows).max(axis=1, keepdims=True)
    assert len(digits.digits) == count
    assert (np.abs(again - rows) <= 1.01 * 256.0**-count * largest + 2.0**-23 * np.abs(rows)).all()
    whole = centred(drawn(4, 50))
    assert digits.times(whole) == pytest.approx(again @ whole.T, rel=1e-9, abs=1e-9)


@IN_8_BITS
@pytest.mark.parametrize("size", [1, 2, 63, 2049])
def test_products_of_8_bits_are_exact_to_their_extremes(size: int) -> None:
    one, other = (RNG.choice(np.array([-128, -127, 0, 127], np.int8), (5, size)) for _ in range(2))
    expected = one.astype(np.int64) @ other.T.astype(np.int64)
    assert np.array_equal(exact_products(one, other), expected)
    assert np.array_equal(exact_products(np.asfortranarray(one), np.asfortranarray(other)), expected)


def test_a_processor_whose_products_are_cut_off_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    int8_product.cache_clear()
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    # As instructions of 16 bits have it that cut sums off.
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.int() @ b.int()).clamp(-32768, 32767))
    assert int8_product() is None
    int8_product.cache_clear()
