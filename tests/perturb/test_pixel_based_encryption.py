"""Pixel-based encryption against the definition, a pixel at a time, and what is known of it."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from schemes import IMAGES, SIZE, check_known_pairs, check_linkage, check_network_inputs, numbers, scheme

NAME = "pixel_based_encryption"
# Order of the colours by the first digit of a key number in base 8, signs by the bits of the second.
FORMS = list(product(permutations(range(3)), product((0, 1), repeat=3)))


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_as_the_definition_a_pixel_at_a_time(scope: str) -> None:
    out = scheme(NAME, scope).apply(IMAGES[:2])
    for image, perturbed in zip(IMAGES, out, strict=False):
        drawn = numbers(NAME, SIZE * SIZE, image=image if scope == "image" else None)
        for place, number in enumerate(drawn):
            y, x = divmod(place, SIZE)
            order, signs = FORMS[number * 48 >> 64]
            expected = [
                255 - int(image[y, x, c]) if sign else int(image[y, x, c]) for c, sign in zip(order, signs, strict=True)
            ]
            assert perturbed[y, x].tolist() == expected


def test_all_orders_and_signs_are_as_likely() -> None:
    keys = scheme(NAME, "image").image_keys(IMAGES)
    assert keys is not None and keys.shape == (len(IMAGES), SIZE * SIZE, 3)
    _, counts = np.unique(keys.reshape(-1, 3), axis=0, return_counts=True)
    expected = len(IMAGES) * SIZE * SIZE / 48
    assert len(counts) == 48 and ((counts - expected) ** 2 / expected).sum() < 47 + 5 * (2 * 47) ** 0.5


def test_k_counts_for_nothing_and_grey_pixels_lose_nothing_but_their_sign() -> None:
    np.testing.assert_array_equal(scheme(NAME, k=4).apply(IMAGES), scheme(NAME, k=7).apply(IMAGES))
    grey = np.full((1, SIZE, SIZE, 3), 100, np.uint8)
    assert set(np.unique(scheme(NAME).apply(grey))) == {100, 155}


def test_a_few_pairs_give_the_key() -> None:
    check_known_pairs(NAME, 20, 0.99)


def test_whose_image_it_is_and_what_a_network_is_told() -> None:
    check_linkage(NAME)
    check_network_inputs(NAME)
    levels = torch.from_numpy(scheme(NAME, "image").apply(IMAGES[:1]).astype(np.float32)).permute(0, 3, 1, 2)
    assert torch.equal(scheme(NAME).network_inputs(levels)[1], (levels - 127.5) / 64)
    _, unchanged = scheme(NAME, "image").network_inputs(levels)
    folded = np.sort(np.minimum(IMAGES[0], 255 - IMAGES[0]), axis=2)
    np.testing.assert_allclose(unchanged[0].permute(1, 2, 0), (folded - 127.5) / 64, atol=1e-6)
