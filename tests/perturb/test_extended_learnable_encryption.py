"""ELE against the definition, a block and a nibble at a time, and what is known of it."""

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
from test_learnable_encryption import encrypted

NAME = "extended_learnable_encryption"


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("k", [1, 4, 16])
def test_as_the_definition_a_block_at_a_time(scope: str, k: int) -> None:
    blocks, nibbles = (SIZE // k) ** 2, 2 * 3 * k * k
    out = scheme(NAME, scope, k).apply(IMAGES[:2])
    for image, perturbed in zip(IMAGES, out, strict=False):
        drawn = numbers(NAME, blocks * (1 + nibbles), k, image if scope == "image" else None)
        expected, places = np.empty_like(image), corners(k)
        for b, source in enumerate(ordered(drawn[:blocks])):
            own = drawn[blocks + b * nibbles :][:nibbles]
            put(expected, places[b], encrypted(block(image, places[source], k), own), k)
        np.testing.assert_array_equal(perturbed, expected)


def test_a_few_pairs_give_the_key() -> None:
    check_known_pairs(NAME, 30, 0.95)


def test_whose_image_it_is_and_what_a_network_is_told() -> None:
    check_linkage(NAME)
    check_network_inputs(NAME, no_guess=True)
    check_no_count(NAME)
