"""The block scramble against a loop over blocks and pixels, and what any permutation of a block preserves."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from samples import KEY, method, sample_images

from privpipe.perturb import Copies

CASES = [(32, 2, 3), (32, 8, 3), (48, 3, 3), (48, 16, 3), (32, 4, 1)]  # size, k, channels


def expected_permutations(size: int, k: int, image: NDArray[np.uint8] | None) -> NDArray[np.int32]:
    """The order of little-endian 64-bit numbers: of an image, or of all images for None."""
    stream, count = KEY.child("block_scramble", "image_size", size, "k", k, "scope"), 8 * size * size
    if image is None:
        drawn = stream.child("dataset").shared(count)
    else:
        drawn = stream.child("image").own(image.shape, count, Copies()).draw(image[None])
    numbers = struct.unpack(f"<{size * size}Q", drawn.tobytes())
    blocks = [numbers[start : start + k * k] for start in range(0, size * size, k * k)]
    return np.array([sorted(range(k * k), key=block.__getitem__) for block in blocks], np.int32)


def scramble(image: NDArray[np.uint8], permutations: NDArray[np.int32], k: int) -> NDArray[np.uint8]:
    """Pixel j of block b comes from pixel permutations[b, j] of the same block, one at a time."""
    out, per_row = np.zeros_like(image), len(image) // k
    for b, permutation in enumerate(permutations.tolist()):
        top, left = b // per_row * k, b % per_row * k
        for j, source in enumerate(permutation):
            out[top + j // k, left + j % k] = image[top + source // k, left + source % k]
    return out


def block_pixels(image: NDArray[np.uint8], k: int, y: int, x: int) -> list[tuple[int, ...]]:
    """The pixels of one block as sorted colour tuples."""
    return sorted(map(tuple, image[y : y + k, x : x + k].reshape(k * k, -1).tolist()))


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize(("size", "k", "channels"), CASES)
def test_as_a_loop_over_blocks_and_pixels(size: int, k: int, channels: int, scope: str) -> None:
    images = sample_images(3, size, channels)
    out = method("block_scramble", size, k, scope).apply(images)
    for i, image in enumerate(images):
        permutations = expected_permutations(size, k, image if scope == "image" else None)
        np.testing.assert_array_equal(out[i], scramble(image, permutations, k))


@pytest.mark.parametrize("scope", ["dataset", "image"])
@settings(max_examples=25, deadline=None)
@given(k=st.sampled_from([1, 2, 4, 8]), seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 256))
def test_a_block_keeps_its_pixels_with_their_colours(scope: str, k: int, seed: int, levels: int) -> None:
    image = np.random.default_rng(seed).integers(0, levels, (1, 8, 8, 3), np.uint8)
    out = method("block_scramble", 8, k, scope).apply(image)
    for y in range(0, 8, k):
        for x in range(0, 8, k):
            assert block_pixels(out[0], k, y, x) == block_pixels(image[0], k, y, x)


@pytest.mark.parametrize("scope", ["dataset", "image"])
@settings(max_examples=25, deadline=None)
@given(k=st.sampled_from([1, 2, 3, 4, 6, 12]), level=st.integers(0, 255))
def test_the_inverse_undoes_exactly(scope: str, k: int, level: int) -> None:
    images, perturbation = sample_images(2, 12) ^ np.uint8(level), method("block_scramble", 12, k, scope)
    keys = perturbation.dataset_key if scope == "dataset" else perturbation.image_keys(images)
    np.testing.assert_array_equal(perturbation.invert(perturbation.apply(images), keys), images)


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_k_1_is_the_identity(scope: str) -> None:
    images = sample_images(3, 32)
    np.testing.assert_array_equal(method("block_scramble", 32, 1, scope).apply(images), images)


def test_every_block_has_its_own_permutation() -> None:
    permutations = method("block_scramble", 32, 4).permutations
    assert permutations.shape == (64, 16)
    assert len(np.unique(permutations, axis=0)) == 64


def test_scope_image_has_a_permutation_for_every_block_of_every_image() -> None:
    permutations = method("block_scramble", 32, 4, "image").image_keys(sample_images(5, 32))
    assert permutations.shape == (5, 64, 16)
    assert len(np.unique(permutations.reshape(-1, 16), axis=0)) == 320


def test_k_of_the_whole_image_moves_pixels_across_it() -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, :16] = 255
    below = method("block_scramble", 32, 32).apply(image)[0, 16:]
    assert below.mean() == pytest.approx(127.5, abs=20)
