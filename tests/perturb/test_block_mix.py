"""The block mix against a loop over blocks and pixels, and what its matrices and its inverse promise."""

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import KEY, method, sample_images
from scipy.special import ndtri

from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.block_mix import BlockMix
from privpipe.perturb.keystream import Copies, rounded_quantiles

CASES = [(16, 2, 3), (16, 8, 3), (12, 3, 3), (16, 16, 3), (16, 4, 1), (16, 1, 3)]  # size, k, channels


def expected_matrices(size: int, k: int, image: NDArray[np.uint8] | None) -> NDArray[np.float64]:
    """From the numbers and the quantile function alone, not rounded: of an image, or of all for None."""
    stream, count = KEY.child("block_mix", "image_size", size, "k", k, "scope"), 2 * (size // k) ** 2 * k**4
    if image is None:
        drawn = stream.child("dataset").shared(count)
    else:
        drawn = stream.child("image").own(image.shape, count, Copies()).draw(image[None])
    numbers = drawn[0].view("<u2")
    return ndtri((numbers + 0.5) / 65536).reshape((size // k) ** 2, k * k, k * k) / k


def keys_of(perturbation: Perturbation, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return perturbation.dataset_key if perturbation.scope == "dataset" else perturbation.image_keys(images)


def step(k: int) -> float:
    """What weights are multiples of: the smallest power of two with which all sums are below 2^24 steps."""
    return min(2.0**-m for m in range(24) if 255 * k * k * 4.33 / k < 2**24 * 2.0**-m)


def mix(image: NDArray[np.uint8], matrices: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Output pixel i of block b is the sum over j of matrices[b, i, j] times pixel j / 255, one at a time."""
    out, per_row = np.zeros(image.shape), len(image) // k
    for b, i, j in np.ndindex(matrices.shape):
        top, left = b // per_row * k, b % per_row * k
        out[top + i // k, left + i % k] += matrices[b, i, j] * (image[top + j // k, left + j % k] / 255)
    return out


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize(("size", "k", "channels"), CASES)
def test_as_a_loop_over_blocks_and_pixels_in_float16(size: int, k: int, channels: int, scope: str) -> None:
    images = sample_images(2, size, channels)
    out = method("block_mix", size, k, scope).apply(images)
    for i, image in enumerate(images):
        own = method("block_mix", size, k, scope)
        matrices = own.dataset_key if scope == "dataset" else own.image_keys(image[None])[0]
        expected = mix(image, matrices.astype(float), k)
        np.testing.assert_allclose(out[i].astype(float), expected, rtol=2**-11, atol=1e-7)


@pytest.mark.parametrize("k", [2, 4])
def test_the_key_is_the_matrices(k: int) -> None:
    images = sample_images(2, 16)
    shared, own = method("block_mix", 16, k), method("block_mix", 16, k, "image").image_keys(images)
    assert shared.dataset_key.dtype == own.dtype == np.float32
    near = {"rtol": 1e-4, "atol": step(k) / 2}  # the quantiles are scaled to variance 1, by less than a ten-thousandth
    np.testing.assert_allclose(shared.dataset_key, expected_matrices(16, k, None), **near)
    np.testing.assert_allclose(own, [expected_matrices(16, k, image) for image in images], **near)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 8, 16, 32])
def test_sums_are_exact_in_float32_in_any_order(k: int) -> None:
    weights = method("block_mix", 96, k).dataset_key.astype(float)
    steps = weights / step(k)
    assert np.array_equal(steps, np.rint(steps))
    # The largest of all weights there are, at the whitest of blocks.
    assert 255 * k * k * rounded_quantiles(1 / k, step(k)).max() / step(k) < 2**24


def test_no_key_for_no_images() -> None:
    assert method("block_mix", 16, 4, "image").image_keys(sample_images(0, 16)).shape == (0, 16, 16, 16)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_weights_have_mean_0_and_variance_1_over_k_squared(k: int) -> None:
    weights = method("block_mix", 32, k).dataset_key
    assert abs(weights.mean()) < 5 / k / weights.size**0.5
    assert weights.var() == pytest.approx(1 / k**2, rel=5 * (2 / weights.size) ** 0.5)


def test_the_mean_square_of_the_pixels_stays() -> None:
    images = sample_images(50, 32)
    out = method("block_mix", 32, 4, "image").apply(images).astype(float)
    assert (out**2).mean() == pytest.approx(((images / 255) ** 2).mean(), rel=0.05)


def test_every_block_has_its_own_matrix() -> None:
    weights = method("block_mix", 32, 4).dataset_key
    assert len(np.unique(weights.reshape(64, -1), axis=0)) == 64


def test_the_output_goes_beyond_black_and_white() -> None:
    out = method("block_mix", 32, 4).apply(sample_images(5, 32))
    assert out.min() < 0 and out.max() > 1


def test_is_linear_in_the_image() -> None:
    images = sample_images(2, 16) // 2
    perturbation = method("block_mix", 16, 4)
    one, two = perturbation.apply(images).astype(float)
    np.testing.assert_allclose(one + two, perturbation.apply(images[:1] + images[1:])[0], atol=2**-9)


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_chunks_of_bounded_memory_change_nothing(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, perturbation = sample_images(7, 16), method("block_mix", 16, 4, scope)
    out, keys = perturbation.apply(images), keys_of(perturbation, images)
    monkeypatch.setattr("privpipe.perturb.base.CACHE_BYTES", 1)
    np.testing.assert_array_equal(perturbation.apply(images), out)
    np.testing.assert_array_equal(keys_of(perturbation, images), keys)


def test_refuses_matrices_that_would_fill_the_memory() -> None:
    message = r"^block_mix may have 134,217,728 weights per image; got 268,435,456 with k = 128 and 128 pixels\. Use a"
    with pytest.raises(PrivpipeError, match=message):
        BlockMix(128, 128, stream=KEY).apply(np.zeros((1, 128, 128, 3), np.uint8))
