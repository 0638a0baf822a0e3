"""EtC against the definition, a block at a time, and what is known of it."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from schemes import (
    IMAGES,
    SIZE,
    check_known_pairs,
    check_linkage,
    check_network_inputs,
    corners,
    numbers,
    ordered,
    scheme,
)

from privpipe.perturb.block_forms import block_forms

NAME = "encryption_then_compression"
ORDERS = list(permutations(range(3)))


def formed(block: NDArray[np.uint8], form: int) -> NDArray[np.uint8]:
    """Form `form` of a block (k, k, 3): reflected or not, turned, negative or not, colours reordered."""
    mirrored, turns, negative, order = form // 48, form // 12 % 4, form // 6 % 2, ORDERS[form % 6]
    out = block[:, ::-1] if mirrored else block
    for _ in range(turns):
        out = out.transpose(1, 0, 2)[::-1]  # a quarter anticlockwise
    return (255 - out if negative else out)[..., list(order)]


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("k", [2, 4, 16])
def test_as_the_definition_a_block_at_a_time(scope: str, k: int) -> None:
    out, places = scheme(NAME, scope, k).apply(IMAGES[:2]), corners(k)
    for image, perturbed in zip(IMAGES, out, strict=False):
        drawn = numbers(NAME, 2 * len(places), k, image if scope == "image" else None)
        for (y, x), source, number in zip(places, ordered(drawn[: len(places)]), drawn[len(places) :], strict=True):
            top, left = places[source]
            expected = formed(image[top : top + k, left : left + k], number * 96 >> 64)
            np.testing.assert_array_equal(perturbed[y : y + k, x : x + k], expected)


@pytest.mark.parametrize(("k", "channels", "count"), [(4, 3, 96), (2, 1, 16), (1, 3, 12), (1, 1, 2)])
def test_the_forms_of_a_block_are_a_group_without_doubles(k: int, channels: int, count: int) -> None:
    n = k * k * channels
    forms = {tuple(form) for form in block_forms(k, channels).tolist()}
    assert len(block_forms(k, channels)) == len(forms) == count and tuple(range(n)) in forms
    for one in sorted(forms)[:: max(1, count // 12)]:
        for other in forms:
            assert tuple((one[v % n] + v // n * n) % (2 * n) for v in other) in forms


def test_a_single_block_hides_nothing() -> None:
    assert "single block" in str(scheme(NAME, k=SIZE).weakness()) and scheme(NAME).weakness() is None


def test_two_pairs_give_the_key() -> None:
    check_known_pairs(NAME, 2)


def test_whose_image_it_is_and_what_a_network_is_told() -> None:
    check_linkage(NAME)
    check_network_inputs(NAME)
