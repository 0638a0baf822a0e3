"""PSNR and SSIM against their formulas and scikit-image."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from privpipe.errors import PrivpipeError
from privpipe.owner.synthetic import draw
from privpipe.report.fidelity import PSNR_CAP, psnr, ssim

Pixels = NDArray[np.uint8]


def pictures(count: int, size: int) -> Pixels:
    return draw(count, 32, rng=np.random.default_rng(size)).images[:, :size, :size]


def damaged(images: Pixels, sigma: float = 30.0) -> NDArray[np.float32]:
    return (images + np.random.default_rng(1).normal(0, sigma, images.shape)).astype(np.float32)


@pytest.mark.parametrize("size", [8, 9, 10, 11, 32])
def test_ssim_is_that_of_scikit_image(size: int) -> None:
    originals = pictures(5, size)
    images = damaged(originals)
    rounded = np.rint(images.clip(0, 255)).astype(np.uint8)
    window = min(11, size if size % 2 else size - 1)
    expected = [
        structural_similarity(
            one,
            other,
            win_size=window,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1,
        )
        for one, other in zip(originals, rounded, strict=True)
    ]
    np.testing.assert_allclose(ssim(originals, images), expected, atol=1e-9)


def test_ssim_of_many_pictures_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = pictures(7, 16)
    images = damaged(originals)
    whole = ssim(originals, images)
    monkeypatch.setattr("privpipe.report.fidelity.CHUNK_VALUES", 2 * 16 * 16 * 3)
    np.testing.assert_allclose(ssim(originals, images), whole, rtol=1e-12)


def test_ssim_of_identical_and_of_inverted_pictures() -> None:
    originals = pictures(4, 32)
    np.testing.assert_allclose(ssim(originals, originals), 1)
    assert (ssim(originals, 255 - originals) < 0.5).all()


def test_psnr_is_that_of_scikit_image() -> None:
    originals = pictures(5, 16)
    images = damaged(originals)
    rounded = np.rint(images.clip(0, 255)).astype(np.uint8)
    expected = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(originals, rounded, strict=True)]
    np.testing.assert_allclose(psnr(originals, images), expected)


def test_psnr_of_identical_pictures_is_the_cap_and_rounding_stays_below_it() -> None:
    originals = pictures(3, 16)
    assert psnr(originals, originals).tolist() == [PSNR_CAP] * 3
    # Off by less than half a level is identical once rounded; a tenth of the values off by one level is not.
    assert psnr(originals, originals + np.float32(0.4)).tolist() == [PSNR_CAP] * 3
    off = originals.copy()
    off.reshape(3, -1)[:, ::10] ^= 1
    expected = 10 * np.log10(255**2 / np.mean(np.arange(16 * 16 * 3) % 10 == 0))
    np.testing.assert_allclose(psnr(originals, off), expected)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_refuses_pictures_of_another_shape(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(PrivpipeError, match=r"of each original, \(3, 16, 16, 3\); got \(2, 16, 16, 3\)\. Pass"):
        measure(pictures(3, 16), pictures(2, 16))
    with pytest.raises(PrivpipeError, match=r"of each original, \(0, 16, 16, 3\)"):
        measure(pictures(3, 16)[:0], pictures(3, 16)[:0])
