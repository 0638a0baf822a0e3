"""LE against the definition, a block and a nibble at a time, and what is known of it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from schemes import (
    IMAGES,
    K,
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

from privpipe.perturb.keys import of_permutations
from privpipe.perturb.learnable_encryption import chance_of_signed_order, signed_orders

NAME = "learnable_encryption"


def encrypted(values: list[int], drawn: list[int]) -> list[int]:
    """Tanaka's steps: nibbles, reversed at keyed places, permuted, reversed at the same places, joined."""
    nibbles = [value // 16 for value in values] + [value % 16 for value in values]
    places = [number % 2 for number in drawn]
    nibbles = [15 - v if place else v for v, place in zip(nibbles, places, strict=True)]
    nibbles = [nibbles[source] for source in ordered(drawn)]
    nibbles = [15 - v if place else v for v, place in zip(nibbles, places, strict=True)]
    half = len(values)
    return [16 * upper + lower for upper, lower in zip(nibbles[:half], nibbles[half:], strict=True)]


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("k", [1, 4, 8])
def test_as_the_definition_a_nibble_at_a_time(scope: str, k: int) -> None:
    out = scheme(NAME, scope, k).apply(IMAGES[:2])
    for image, perturbed in zip(IMAGES, out, strict=False):
        drawn = numbers(NAME, 2 * 3 * k * k, k, image if scope == "image" else None)
        expected = np.empty_like(image)
        for corner in corners(k):
            put(expected, corner, encrypted(block(image, corner, k), drawn), k)
        np.testing.assert_array_equal(perturbed, expected)


def test_equal_blocks_stay_equal() -> None:
    """One key for all blocks: its weakness, and what block_scramble does otherwise."""
    image = np.tile(IMAGES[:1, :K, :K], (1, 4, 4, 1))
    out = scheme(NAME).apply(image)
    np.testing.assert_array_equal(out, np.tile(out[:, :K, :K], (1, 4, 4, 1)))
    assert scheme(NAME).weakness() is None and "shapes show" in str(scheme(NAME, k=1).weakness())


def test_one_pair_gives_most_of_the_key_and_three_all() -> None:
    check_known_pairs(NAME, 1, 0.9)
    check_known_pairs(NAME, 3)


def test_whose_image_it_is_and_what_a_network_is_told() -> None:
    check_linkage(NAME)
    check_network_inputs(NAME, no_guess=True)
    check_no_count(NAME)


def test_chance_is_what_random_keys_score() -> None:
    rng = np.random.default_rng(0)

    def keys() -> NDArray[np.int32]:
        return signed_orders(rng.integers(0, 256, (40_000, 8 * 3), np.uint8))

    assert of_permutations(keys(), keys()).pixels == pytest.approx(chance_of_signed_order(3).pixels, abs=0.005)
