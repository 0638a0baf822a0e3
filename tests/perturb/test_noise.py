"""Gaussian noise against its formula and its statistics."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from samples import KEY, method, pictures

from privpipe.errors import PrivpipeError
from privpipe.perturb.gaussian_blur import blur_sigma
from privpipe.perturb.noise import correlate

NOISES = ["gaussian_noise", "correlated_noise"]
SIZE, SIGMA = 32, 25.0


def blur_kernel(k: int) -> NDArray[np.float64]:
    """exp(-r^2 / 2 s^2), normalised, with the standard deviation that belongs to k, (k, k)."""
    x = np.arange(k) - k // 2
    weights = np.exp(-(x[:, None] ** 2 + x**2) / (2 * (0.3 * ((k - 1) / 2 - 1) + 0.8) ** 2))
    return weights / weights.sum()


def expected_field(
    name: str, k: int, place: tuple[str | int, ...], index: int = 0, channels: int = 3
) -> NDArray[np.float64]:
    """The noise in levels, (SIZE, SIZE, channels)."""
    stream = KEY.child(name, *([] if name == "gaussian_noise" else [k]), *place)
    white = stream.fields(index, 1, SIZE * SIZE * channels).reshape(SIZE, SIZE, channels).astype(float)
    if name == "gaussian_noise":
        return SIGMA * white
    weights, radius = blur_kernel(k), k // 2
    padded = np.pad(white, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    smooth = sum(weights[i, j] * padded[i : i + SIZE, j : j + SIZE] for i, j in np.ndindex(k, k))
    return SIGMA * smooth / np.sqrt((weights**2).sum())


def fields(name: str, k: int, count: int = 100) -> NDArray[np.float64]:
    """The noise of many images in levels, without the borders, (count, h, w, 3)."""
    grey = np.full((count, SIZE, SIZE, 3), 128, np.uint8)
    noise = method(name, SIZE, k, "image", sigma=SIGMA).apply(grey).astype(float) * 255 - 128
    return noise[:, k:-k, k:-k]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize(("name", "k"), [("gaussian_noise", 1), *(("correlated_noise", k) for k in (1, 3, 7))])
def test_image_plus_field_in_float16(name: str, k: int, scope: str, channels: int) -> None:
    images = pictures(3, SIZE, channels)
    out = method(name, SIZE, k, scope, sigma=SIGMA).apply(images, "test", 5)
    for i, image in enumerate(images):
        place, index = (("dataset",), 0) if scope == "dataset" else (("image", "test"), 5 + i)
        expected = (image + expected_field(name, k, place, index, channels)) / 255
        np.testing.assert_allclose(out[i].astype(float), expected, rtol=2**-11, atol=1e-6)


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("name", NOISES)
def test_the_key_and_the_image_in_this_order_of_float32_operations(name: str, scope: str) -> None:
    images, perturbation = pictures(4, SIZE), method(name, SIZE, 5, scope, sigma=SIGMA)
    key = perturbation.dataset_key if scope == "dataset" else perturbation.image_keys("val", 2, 4)
    assert key is not None and key.dtype == np.float32
    expected = ((images.astype(np.float32) + key) / np.float32(255)).astype(np.float16)
    np.testing.assert_array_equal(perturbation.apply(images, "val", 2), expected)
    back = expected.astype(np.float32) * np.float32(255) - key
    np.testing.assert_array_equal(perturbation.invert(expected, "val", 2), back)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("k", [1, 3, 5, 9])
def test_smoothing_is_opencvs_filter_of_one_axis(k: int, axis: int) -> None:
    values = np.random.default_rng(0).normal(size=(9, 9, 4)).astype(np.float32)
    weights = cv2.getGaussianKernel(k, blur_sigma(k), cv2.CV_32F)
    identity = np.ones((1, 1), np.float32)
    kernels = (identity, weights) if axis == 0 else (weights, identity)
    np.testing.assert_allclose(
        correlate(values, weights.ravel(), axis), cv2.sepFilter2D(values, cv2.CV_32F, *kernels), atol=1e-6
    )


@pytest.mark.parametrize("name", NOISES)
def test_the_dataset_key_is_what_is_added_to_all(name: str) -> None:
    perturbation = method(name, SIZE, 3, sigma=SIGMA)
    np.testing.assert_allclose(perturbation.dataset_key, expected_field(name, 3, ("dataset",)), rtol=1e-5, atol=1e-5)


def test_gaussian_noise_does_not_depend_on_k() -> None:
    images = pictures(2, SIZE)
    np.testing.assert_array_equal(
        method("gaussian_noise", SIZE, 4).apply(images), method("gaussian_noise", SIZE, 7).apply(images)
    )


def test_correlated_noise_of_another_k_comes_from_other_random_numbers() -> None:
    one, three = (method("correlated_noise", SIZE, k).dataset_key for k in (1, 3))
    weights = blur_kernel(3)
    padded = np.pad(one, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    smoothed = sum(weights[i, j] * padded[i : i + SIZE, j : j + SIZE] for i, j in np.ndindex(3, 3))
    assert abs(np.corrcoef(smoothed.ravel(), three.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize(("name", "k"), [("gaussian_noise", 1), ("correlated_noise", 3), ("correlated_noise", 7)])
def test_the_standard_deviation_is_sigma(name: str, k: int) -> None:
    noise = fields(name, k)
    assert noise.std() == pytest.approx(SIGMA, rel=0.02)
    assert abs(noise.mean()) < 0.03 * SIGMA


@pytest.mark.parametrize("k", [3, 5, 7])
def test_neighbours_correlate_as_the_kernel_with_itself_shifted(k: int) -> None:
    noise, weights = fields("correlated_noise", k), blur_kernel(k)
    for shift in (1, 2):
        expected = (weights[shift:] * weights[:-shift]).sum() / (weights**2).sum()
        for one, two in [(noise[:, shift:], noise[:, :-shift]), (noise[:, :, shift:], noise[:, :, :-shift])]:
            assert np.corrcoef(one.ravel(), two.ravel())[0, 1] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", NOISES)
def test_colours_and_images_are_independent(name: str) -> None:
    noise = fields(name, 3)
    pairs = [(noise[..., 0], noise[..., 1]), (noise[..., 1], noise[..., 2]), (noise[1:], noise[:-1])]
    assert all(abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.02 for one, two in pairs)


def test_neighbours_of_independent_noise_do_not_correlate() -> None:
    noise = fields("gaussian_noise", 1)
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("name", NOISES)
def test_the_dataset_key_subtracts_out_of_two_images(name: str) -> None:
    images = pictures(2, SIZE)
    one, two = method(name, SIZE, 3, sigma=SIGMA).apply(images).astype(float) * 255
    np.testing.assert_allclose(one - two, images[0].astype(float) - images[1], rtol=0, atol=2 * 255 * 2**-11 + 1e-3)


@pytest.mark.parametrize("name", NOISES)
def test_noise_goes_beyond_black_and_white(name: str) -> None:
    images = np.stack([np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE, 3), 255, np.uint8)])
    black, white = method(name, SIZE, 3, sigma=SIGMA).apply(images)
    assert 0.4 < np.mean(black < 0) < 0.6
    assert 0.4 < np.mean(white > 1) < 0.6


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("name", NOISES)
def test_noise_that_float16_cannot_hold_is_refused(name: str, scope: str) -> None:
    message = rf"^{name} gave values that float16 cannot hold \(over 65504\)\. Use a smaller perturb\.k or sigma\.$"
    with pytest.raises(PrivpipeError, match=message):
        method(name, SIZE, 3, scope, sigma=1e8).apply(pictures(2, SIZE))
