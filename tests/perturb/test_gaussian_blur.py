"""Gaussian blur bit for bit against OpenCV on each image, and against the formula."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from samples import method, sample_images

from privpipe.perturb.gaussian_blur import blur_sigma, kernel

SIGMAS = {3: 0.8, 5: 1.1, 7: 1.4, 9: 1.7}


def formula(k: int) -> NDArray[np.float64]:
    """exp(-r^2 / 2 sigma^2), normalised, (k, k)."""
    x = np.arange(k) - k // 2
    weights = np.exp(-(x[:, None] ** 2 + x**2) / (2 * (0.3 * ((k - 1) / 2 - 1) + 0.8) ** 2))
    return weights / weights.sum()


@pytest.mark.parametrize(("k", "sigma"), SIGMAS.items())
def test_sigma(k: int, sigma: float) -> None:
    assert blur_sigma(k) == pytest.approx(sigma)


@pytest.mark.parametrize("k", [1, 3, 5, 7, 31])
def test_kernel_is_the_formula_and_not_opencvs_table(k: int) -> None:
    np.testing.assert_allclose(kernel(k), formula(k), atol=1e-12)
    assert kernel(k).sum() == pytest.approx(1)


def test_the_row_sums_for_k_3_are_those_of_the_documentation() -> None:
    np.testing.assert_allclose(kernel(3).sum(axis=0), [0.239, 0.522, 0.239], atol=0.0005)


@pytest.mark.parametrize("k", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [32, 48])
def test_bit_for_bit_as_opencv_blurs_each_image(size: int, channels: int, k: int) -> None:
    images = sample_images(520 // channels, size, channels)  # more than one call takes
    out = method("gaussian_blur", size, k, key=None).apply(images)
    for blurred, image in zip(out, images, strict=True):
        expected = cv2.GaussianBlur(image, (k, k), SIGMAS.get(k, 0.5)).reshape(image.shape)
        np.testing.assert_array_equal(blurred, expected)


@pytest.mark.parametrize("k", [3, 5, 7, 31])
def test_the_formula_to_within_the_rounding(k: int) -> None:
    images = sample_images(3, 32)
    radius = k // 2
    padded = np.pad(images.astype(float), ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))
    expected = np.einsum("nyxcij,ij->nyxc", windows, formula(k))
    out = method("gaussian_blur", 32, k, key=None).apply(images)
    error = np.abs(out - expected)  # OpenCV rounds the weights to 8 bits and the sum to a whole level
    assert error.max() < 2 and error.mean() < 0.4


def test_k_1_is_the_identity() -> None:
    images = sample_images(4, 32)
    np.testing.assert_array_equal(method("gaussian_blur", 32, 1, key=None).apply(images), images)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 255), st.sampled_from([1, 3, 5, 7, 11, 31]))
def test_a_constant_image_stays(level: int, k: int) -> None:
    images = np.full((2, 32, 32, 3), level, np.uint8)
    np.testing.assert_array_equal(method("gaussian_blur", 32, k, key=None).apply(images), images)


def test_a_larger_kernel_hides_more() -> None:
    images = sample_images(20, 32)
    spread = [method("gaussian_blur", 32, k, key=None).apply(images).std() for k in (1, 3, 5, 7, 15)]
    assert spread == sorted(spread, reverse=True)
