"""NP against the definition, a value at a time, and what is known of it."""

import numpy as np
import pytest
from schemes import (
    IMAGES,
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

NAME = "negative_positive"


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("k", [1, 4, 16])
def test_as_the_definition_a_value_at_a_time(scope: str, k: int) -> None:
    out, half = scheme(NAME, scope, k).apply(IMAGES[:2]), 3 * k * k // 2
    for image, perturbed in zip(IMAGES, out, strict=False):
        ranks = ordered(numbers(NAME, 3 * k * k, k, image if scope == "image" else None))
        expected = np.empty_like(image)
        for corner in corners(k):
            values = [255 - v if rank < half else v for v, rank in zip(block(image, corner, k), ranks, strict=True)]
            put(expected, corner, values, k)
        np.testing.assert_array_equal(perturbed, expected)


@pytest.mark.parametrize(("k", "half"), [(1, 1), (3, 13), (4, 24)])
def test_half_of_the_places_are_negative(k: int, half: int) -> None:
    key = scheme(NAME, k=k).dataset_key
    assert key is not None and key.sum() == half and len(key) == 3 * k * k


def test_one_pair_gives_the_key() -> None:
    check_known_pairs(NAME, 1)


def test_whose_image_it_is_and_what_a_network_is_told() -> None:
    check_linkage(NAME)
    check_network_inputs(NAME)
    check_no_count(NAME)
    assert "as it is" in str(scheme(NAME, k=1).weakness()) and scheme(NAME).weakness() is None
