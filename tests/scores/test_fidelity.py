"""PSNR and SSIM against their formulas and scikit-image."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.scores.fidelity import PSNR_CAP, psnr, ssim

Pixels = NDArray[np.uint8]


def sample_images(count: int, size: int) -> Pixels:
    return draw(count, 32, rng=np.random.default_rng(size)).images[:, :size, :size]


def damaged(images: Pixels, sigma: float = 30.0) -> NDArray[np.float32]:
    return (images + np.random.default_rng(1).normal(0, sigma, images.shape)).astype(np.float32)


def wang(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The formula of Wang et al. (2004) for one window of 11×11 and one colour."""
    row = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(row, row) / row.sum() ** 2
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    variance_x, variance_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
    covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(numerator / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)))


def test_ssim_is_the_mean_of_its_formula_over_windows_and_colours() -> None:
    originals = sample_images(3, 13)
    images = damaged(originals)
    rounded = np.rint(images.clip(0, 255))
    expected = [
        np.mean(
            [
                wang(a[i : i + 11, j : j + 11, c], b[i : i + 11, j : j + 11, c])
                for i in range(3)
                for j in range(3)
                for c in range(3)
            ]
        )
        for a, b in zip(originals.astype(float), rounded.astype(float), strict=True)
    ]
    np.testing.assert_allclose(ssim(originals, images), expected, rtol=1e-6)


@pytest.mark.parametrize(("count", "size"), [(3, 7), (4, 10), (50, 13), (40, 32)])
def test_ssim_is_that_of_scikit_image(count: int, size: int) -> None:
    originals = sample_images(count, size)
    rounded = np.rint(damaged(originals).clip(0, 255)).astype(np.uint8)
    window = min(11, size - 1 + size % 2)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = [
        structural_similarity(a, b, win_size=window, channel_axis=-1, **settings)
        for a, b in zip(originals, rounded, strict=True)
    ]
    np.testing.assert_allclose(ssim(originals, rounded), expected, rtol=1e-9)
    # A single colour: OpenCV drops the axis of a single channel.
    np.testing.assert_allclose(
        ssim(originals[:1, ..., :1], rounded[:1, ..., :1]),
        structural_similarity(originals[0, ..., 0], rounded[0, ..., 0], win_size=window, **settings),
        rtol=1e-9,
    )


@pytest.mark.parametrize("size", [8, 9, 10])
def test_small_images_have_an_ssim_too(size: int) -> None:
    originals = sample_images(4, size)
    values = ssim(originals, damaged(originals))
    assert ((values > 0) & (values < 1)).all()


def test_ssim_of_identical_and_of_inverted_images() -> None:
    originals = sample_images(4, 32)
    np.testing.assert_allclose(ssim(originals, originals), 1)
    assert (ssim(originals, 255 - originals) < 0.5).all()


def test_psnr_is_that_of_scikit_image() -> None:
    originals = sample_images(5, 16)
    images = damaged(originals)
    rounded = np.rint(images.clip(0, 255)).astype(np.uint8)
    expected = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(originals, rounded, strict=True)]
    np.testing.assert_allclose(psnr(originals, images), expected)


def test_psnr_of_identical_images_is_the_cap_and_rounding_stays_below_it() -> None:
    originals = sample_images(3, 16)
    assert psnr(originals, originals).tolist() == [PSNR_CAP] * 3
    # Off by less than half a level is identical once rounded; a tenth of the values off by one level is not.
    assert psnr(originals, originals + np.float32(0.4)).tolist() == [PSNR_CAP] * 3
    off = originals.copy()
    off.reshape(3, -1)[:, ::10] ^= 1
    expected = 10 * np.log10(255**2 / np.mean(np.arange(16 * 16 * 3) % 10 == 0))
    np.testing.assert_allclose(psnr(originals, off), expected)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_refuses_images_of_another_shape(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(PrivpipeError, match=r"of each original, \(3, 16, 16, 3\); got \(2, 16, 16, 3\)\. Pass"):
        measure(sample_images(3, 16), sample_images(2, 16))
    with pytest.raises(PrivpipeError, match=r"of each original, \(0, 16, 16, 3\)"):
        measure(sample_images(3, 16)[:0], sample_images(3, 16)[:0])
