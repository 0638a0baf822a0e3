"""The random filter against OpenCV on each image and against a direct correlation."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from samples import KEY, method, sample_images
from scipy import stats

from privpipe.errors import PrivpipeError
from privpipe.perturb import Copies, random_filter

HALF_ULP = 2.0**-11  # relative rounding error of float16
FLOAT32 = 1e-5  # what float32 sums of some hundred terms lose


def expected_weights(k: int, image: NDArray[np.uint8] | None, size: int = 32) -> NDArray[np.float64]:
    """The kernel of an image, or of all images of `size` for None, by the quantile function of SciPy's statistics."""
    if image is None:
        drawn = KEY.child("random_filter", "image_size", size, "k", k, "scope", "dataset").shared(4 * k * k)
    else:
        stream = KEY.child("random_filter", "image_size", len(image), "k", k, "scope", "image")
        drawn = stream.own(image.shape, 4 * k * k, Copies()).draw(image[None])
    return stats.norm.ppf((drawn.view("<u4") + 0.5) / 2**32).reshape(k, k)


def correlate(image: NDArray[np.uint8], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over i, j of weights[i, j] times the image shifted by (i, j) from the centre; edges reflected."""
    radius, size = len(weights) // 2, len(image)
    padded = np.pad(image / 255, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    return sum(weights[i, j] * padded[i : i + size, j : j + size] for i, j in np.ndindex(weights.shape))


def expect(out: NDArray[np.float16], expected: NDArray[np.float64]) -> None:
    assert out.dtype == np.float16
    np.testing.assert_allclose(out.astype(float), expected, rtol=HALF_ULP, atol=FLOAT32)


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("k", [1, 3, 5, 7, 13])
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (48, 3), (32, 1)])
def test_as_a_direct_correlation(size: int, channels: int, k: int, scope: str) -> None:
    images = sample_images(4, size, channels)
    out = method("random_filter", size, k, scope).apply(images)
    for i, image in enumerate(images):
        expect(out[i], correlate(image, expected_weights(k, image if scope == "image" else None, size)))


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("k", [3, 7])
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (48, 3), (32, 1)])
def test_as_opencv_filters_each_image(size: int, channels: int, k: int, scope: str) -> None:
    images = sample_images(520 // channels, size, channels)  # more than one call takes
    out = method("random_filter", size, k, scope).apply(images)
    for i, image in enumerate(images):
        filtered = cv2.filter2D(image / 255, cv2.CV_64F, expected_weights(k, image if scope == "image" else None, size))
        expect(out[i], filtered.reshape(image.shape))


def test_a_single_bright_pixel_shows_the_kernel_turned_around() -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, 16, 20] = 255
    out = method("random_filter", 32, 5).apply(image)[0]
    for colour in range(3):
        expect(out[14:19, 18:23, colour], expected_weights(5, None)[::-1, ::-1])
    assert np.count_nonzero(out) == 75


def test_values_beyond_black_and_white_are_kept() -> None:
    out = method("random_filter", 32, 5).apply(sample_images(4, 32))
    assert out.min() < 0 and out.max() > 1


def test_the_weights_are_the_same_through_both_doors() -> None:
    perturbation = method("random_filter", 32, 3, "image")
    image = sample_images(1, 32)
    np.testing.assert_allclose(perturbation.weights, expected_weights(3, None))
    np.testing.assert_allclose(perturbation.image_keys(image)[0], expected_weights(3, image[0]))


def test_sizes_have_unrelated_kernels() -> None:
    three, five = method("random_filter", 32, 3).weights, method("random_filter", 32, 5).weights
    assert not np.isclose(three.ravel()[:, None], five.ravel()).any()


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_overflow_is_refused(monkeypatch: pytest.MonkeyPatch, scope: str) -> None:
    # No kernel of a legal size gets that far, so the bound that spares the check is set aside.
    huge = np.full((3, 3), 1e4)
    monkeypatch.setattr(random_filter.RandomFilter, "weights", huge)
    monkeypatch.setattr(
        random_filter.RandomFilter, "_kernels", lambda self, images, own: np.stack(len(images) * [huge])
    )
    monkeypatch.setattr(random_filter, "NORMAL_END", 1e9)
    white = np.full((2, 32, 32, 3), 255, np.uint8)
    with pytest.raises(PrivpipeError, match=r"^random_filter gave values that float16 cannot hold"):
        method("random_filter", 32, 3, scope).apply(white)
