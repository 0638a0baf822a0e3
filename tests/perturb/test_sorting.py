"""Rows sorted by a network are those that NumPy sorts."""

import numpy as np
import pytest

from privpipe.perturb.sorting import LEAST_ROWS, comparisons, sorted_second

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 16, 27, 64, 256, 300])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("rows", [1, LEAST_ROWS])
def test_the_network_sorts(length: int, axis: int, rows: int) -> None:
    values = RNG.integers(0, 256, (4, rows, length, 3) if axis == 2 else (4, length, rows, 3), np.uint8)
    found = sorted_second(values, axis)
    assert np.array_equal(found, np.moveaxis(np.sort(values, axis=axis), axis, 1))


def test_other_types_are_sorted_too() -> None:
    values = RNG.normal(size=(5, LEAST_ROWS, 8))
    assert np.array_equal(sorted_second(values, 2), np.sort(values, axis=2).swapaxes(1, 2))


@pytest.mark.parametrize("count", range(1, 13))
def test_the_comparisons_sort_every_row_of_zeros_and_ones(count: int) -> None:
    # And so every row (the 0-1 principle, Knuth, theorem Z of section 5.3.4).
    rows = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
    for low, high in comparisons(count):
        assert 0 <= low < high < count
        rows[:, [low, high]] = np.sort(rows[:, [low, high]], axis=1)
    assert (np.diff(rows, axis=1) >= 0).all()
