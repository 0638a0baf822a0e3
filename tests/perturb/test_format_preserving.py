"""FFX against the definition, a value at a time, and what is known of it."""

import numpy as np
import pytest
from schemes import (
    IMAGES,
    SIZE,
    block,
    check_known_pairs,
    check_linkage,
    check_network_inputs,
    check_no_count,
    corners,
    numbers,
    ordered,
    put,
    scheme,
)

NAME = "format_preserving"


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("k", [1, 4, 16])
def test_as_the_definition_a_value_at_a_time(scope: str, k: int) -> None:
    out, n = scheme(NAME, scope, k).apply(IMAGES[:2]), 3 * k * k
    for image, perturbed in zip(IMAGES, out, strict=False):
        drawn = numbers(NAME, n + 256, k, image if scope == "image" else None)
        ranks, table = ordered(drawn[:n]), ordered(drawn[n:])
        expected = np.empty_like(image)
        for corner in corners(k):
            values = block(image, corner, k)
            put(expected, corner, [table[v] if rank < n // 2 else v for v, rank in zip(values, ranks, strict=True)], k)
        np.testing.assert_array_equal(perturbed, expected)


def test_half_of_a_single_value_is_none() -> None:
    grey = IMAGES[..., :1]
    for scope in ("dataset", "image"):
        np.testing.assert_array_equal(scheme(NAME, scope, k=1).apply(grey), grey)


def test_values_are_encrypted_by_one_bijection() -> None:
    key = scheme(NAME).dataset_key
    assert key is not None and sorted(key[-256:]) == list(range(256)) and key[:-256].sum() == 24
    # Every value, in every place of some block.
    levels = np.arange(256, dtype=np.uint8).repeat(3 * SIZE * SIZE).reshape(256, SIZE, SIZE, 3)
    out = scheme(NAME).apply(levels)
    assert all(len(np.unique(out[:, y, x, c])) == 256 for y, x, c in np.ndindex(4, 4, 3))


def test_a_few_pairs_give_the_key() -> None:
    check_known_pairs(NAME, 30, 0.9)


def test_whose_image_it_is_and_what_a_network_is_told() -> None:
    check_linkage(NAME)
    check_network_inputs(NAME, no_guess=True)
    check_no_count(NAME)
    assert "as it is" in str(scheme(NAME, k=1).weakness()) and scheme(NAME).weakness() is None
