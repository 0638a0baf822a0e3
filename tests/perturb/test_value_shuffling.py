"""SHF against the definition, a value at a time, and what is known of it."""

import numpy as np
import pytest
from schemes import (
    IMAGES,
    block,
    check_known_pairs,
    check_linkage,
    check_network_inputs,
    corners,
    numbers,
    ordered,
    put,
    scheme,
)

NAME = "value_shuffling"


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("k", [1, 4, 16])
def test_as_the_definition_a_value_at_a_time(scope: str, k: int) -> None:
    out = scheme(NAME, scope, k).apply(IMAGES[:2])
    for image, perturbed in zip(IMAGES, out, strict=False):
        permutation = ordered(numbers(NAME, 3 * k * k, k, image if scope == "image" else None))
        expected = np.empty_like(image)
        for corner in corners(k):
            values = block(image, corner, k)
            put(expected, corner, [values[source] for source in permutation], k)
        np.testing.assert_array_equal(perturbed, expected)


def test_one_pair_gives_the_key() -> None:
    check_known_pairs(NAME, 2)


def test_whose_image_it_is_and_what_a_network_is_told() -> None:
    check_linkage(NAME)
    check_network_inputs(NAME)
    assert "as it is" in str(scheme(NAME, k=1).weakness()) and scheme(NAME).weakness() is None
