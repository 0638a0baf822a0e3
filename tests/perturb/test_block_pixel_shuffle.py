"""Block and pixel shuffling against its formula, with and without places that stay, and what it says of itself."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from privpipe.attacks.base import Pairs
from privpipe.attacks.known_plaintext import solve
from privpipe.attacks.linkage import method_similarity
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.block_pixel_shuffle import BlockPixelShuffle, canonical, chance_of_restricted, restricted

KEY = KeyStream(bytes(range(32)))
IMAGES = draw(40, 16, rng=np.random.default_rng(0)).images


def by_hand(image: np.ndarray, key: np.ndarray, k: int) -> np.ndarray:
    """Value j of block b is value q[j] of block p[b], one value at a time."""
    out, side = np.empty_like(image), len(image) // k
    p, q = key[: side * side], key[side * side :]
    channels = image.shape[2]
    for b, j in product(range(side * side), range(k * k * channels)):
        place, source = ((*divmod(block, side), value) for block, value in ((b, j), (p[b], q[j])))
        (y, x, pixel), (from_y, from_x, from_pixel) = (
            (row * k + value // channels // k, column * k + value // channels % k, value % channels)
            for row, column, value in (place, source)
        )
        out[y, x, pixel] = image[from_y, from_x, from_pixel]
    return out


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize(("k", "fixed"), [(1, 0.0), (2, 0.5), (4, 0.0), (8, 0.25), (16, 1.0)])
def test_each_value_comes_from_its_source_and_goes_back(k: int, fixed: float, scope: str, channels: int) -> None:
    method = BlockPixelShuffle(16, k, scope, 0.0, KEY, blocks_fixed=fixed, pixels_fixed=fixed)
    images = np.ascontiguousarray(IMAGES[:3, :, :, :channels])
    keys = (
        method.image_keys(images)
        if scope == "image"
        else np.broadcast_to(method._shared(channels), (3, *(method.key_form(channels) or ())))
    )
    perturbed = method.apply(images)
    expected = [by_hand(image, key, k) for image, key in zip(images, keys, strict=True)]
    np.testing.assert_array_equal(perturbed, np.stack(expected))
    np.testing.assert_array_equal(method.invert(perturbed, keys), images)


def test_so_many_places_stay_as_asked_and_the_others_are_uniform() -> None:
    stream = np.random.default_rng(0).integers(0, 256, (20_000, 8 * 6), np.uint8)
    keys = restricted(stream, 2)
    assert (np.sort(keys, axis=1) == np.arange(6)).all()
    stays = (keys == np.arange(6)).sum(axis=1)
    assert stays.min() == 2  # two by demand, and one of four more on average by chance
    assert stays.mean() == pytest.approx(3, abs=0.03)
    for place in range(6):
        counts = np.bincount(keys[:, place], minlength=6) / len(keys)
        np.testing.assert_allclose(np.delete(counts, place), 0.1, atol=0.012)
    assert (restricted(stream, 6) == np.arange(6)).all()


@pytest.mark.parametrize(("n", "fixed"), [(6, 0), (6, 2), (6, 5), (6, 6), (1, 0)])
def test_chance_is_what_pairs_of_keys_share(n: int, fixed: int) -> None:
    stream = np.random.default_rng(0).integers(0, 256, (40_000, 8 * n), np.uint8)
    one, two = np.split(restricted(stream, fixed), 2)
    assert chance_of_restricted(n, fixed) == pytest.approx((one == two).mean(), abs=0.006)


def test_one_bit_of_the_key_and_every_setting_give_another_permutation() -> None:
    method = BlockPixelShuffle(16, 4, "dataset", 0.0, KEY)
    others = [
        replace(method, stream=KeyStream(bytes([1, *range(1, 32)]))),
        *(replace(method, **{name: 0.5}) for name in ("blocks_fixed", "pixels_fixed")),
    ]
    assert all((other.dataset_key == method.dataset_key).mean() < 0.7 for other in others)
    fixed = replace(method, blocks_fixed=0.5).dataset_key[:16]
    assert 8 <= (fixed == np.arange(16)).sum() <= 12


@pytest.mark.parametrize(("k", "pairs"), [(2, 30), (4, 1), (8, 10)])
def test_known_pairs_give_the_permutations(k: int, pairs: int) -> None:
    method = BlockPixelShuffle(16, k, "dataset", 0.0, KEY)
    images = np.random.default_rng(1).integers(0, 256, (pairs, 16, 16, 3), np.uint8)
    solved = solve(Pairs(images, method.apply(images)), method)
    assert solved.key is not None
    assert method.key_similarity(solved.key, method.dataset_key).pixels == 1 and solved.confidence > 0.9


@pytest.mark.parametrize("fixed", [0.0, 0.5])
@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_sorted_blocks_tell_whose_image_it_is(scope: str, fixed: float) -> None:
    method = BlockPixelShuffle(16, 4, scope, 0.0, KEY, blocks_fixed=fixed)
    assert (method_similarity(method.apply(IMAGES), IMAGES, method).argmax(axis=1) == np.arange(40)).all()


def test_the_orbit_is_that_of_every_key_on_every_small_image() -> None:
    """Of 2×2 pixels with k = 1 and two colours: tables of four rows and two columns."""
    method = BlockPixelShuffle(2, 1, "image", 0.0, KEY)
    images = np.array(list(product(range(2), repeat=8)), np.uint8).reshape(-1, 2, 2, 2)
    keys = [np.array([*p, *q], np.int32) for p in permutations(range(4)) for q in permutations(range(2))]
    outputs = [frozenset(method.invert(images[i : i + 1], key).tobytes() for key in keys) for i in range(len(images))]
    orbits = [method.orbit(image[None]).tobytes() for image in images]
    for i, j in product(range(len(images)), repeat=2):
        assert (orbits[i] == orbits[j]) == (outputs[i] == outputs[j])


def test_what_takes_too_long_to_tell_is_not_told() -> None:
    """All rows and columns of a table of a permutation look alike: 8! orders of them would have to be tried."""
    table = np.zeros((8, 12), np.uint8)
    table[np.arange(8), np.arange(8)] = 1
    with pytest.raises(PrivpipeError, match="a problem of graph isomorphism, and takes too long"):
        canonical(table, "method")


def test_there_is_no_orbit_where_places_stay_and_weak_settings_are_told() -> None:
    with pytest.raises(PrivpipeError, match="form no group where some places stay fixed"):
        BlockPixelShuffle(16, 4, "image", pixels_fixed=0.5).orbit(IMAGES)
    assert BlockPixelShuffle(16, 4).weakness() is None and "colours alike" in (
        BlockPixelShuffle(16, 1).weakness() or ""
    )
    still = BlockPixelShuffle(16, 4, "image", 0.0, KEY, blocks_fixed=1, pixels_fixed=1)
    np.testing.assert_array_equal(still.apply(IMAGES), IMAGES)
    assert still.weakness() == "All places stay fixed: these are the images."
