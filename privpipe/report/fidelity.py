"""How near reconstructions are to the originals: PSNR and SSIM of every picture."""

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from privpipe.attacker.records import as_pictures
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images

Values = NDArray[np.float64]

WHITE = 255.0
PSNR_CAP = 60.0  # dB; rounding to whole levels alone leaves a mean squared error of 1/12, which is 58.9 dB
SIGMA, WINDOW = 1.5, 11  # of the Gaussian window of SSIM, in pixels


def psnr(originals: Images, images: Array) -> Values:
    """Peak signal-to-noise ratio of each picture, 10·log10(255² / mean squared error) in dB, float64 (T,).

    At most `PSNR_CAP`: identical pictures have no finite ratio, and a mean should not hang on how many there are.

    Args:
        originals: uint8 (T, H, W, C).
        images: reconstructions, float32 in levels or uint8, of the same shape; clipped and rounded first.

    Raises:
        PrivpipeError: the shapes differ, or there are no pictures.
    """
    pictures = _rounded(originals, images)
    error = np.array([_squared_error(one, other) for one, other in zip(originals, pictures, strict=True)])
    least = WHITE**2 / 10 ** (PSNR_CAP / 10)
    return np.asarray(10 * np.log10(WHITE**2 / np.maximum(error, least)))


def _squared_error(one: Images, other: Images) -> float:
    difference = one.astype(np.float32) - other
    return float(np.square(difference).mean(dtype=np.float64))


def ssim(originals: Images, images: Array) -> Values:
    """Structural similarity of each picture, at most 1, float64 (T,): mean over its windows and colours.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity"
    (2004), with its settings: a Gaussian window of 11×11 and sigma 1.5. In pictures under 11 pixels the
    window overhangs, and sees them reflected.

    Args, Raises: as `psnr`.
    """
    pictures = _rounded(originals, images)
    size = min(originals.shape[1:3])
    window = min(WINDOW, size - 1 + size % 2)
    values = [
        structural_similarity(
            one,
            other,
            win_size=window,
            gaussian_weights=True,
            sigma=SIGMA,
            use_sample_covariance=False,
            data_range=WHITE,
            channel_axis=-1,
        )
        for one, other in zip(originals, pictures, strict=True)
    ]
    return np.array(values, np.float64)


def _rounded(originals: Images, images: Array) -> Images:
    if originals.shape != images.shape or not len(originals):
        raise PrivpipeError(
            f"there must be one reconstruction of the shape of each original, {originals.shape}; got {images.shape}. "
            "Pass the attempt on these pictures."
        )
    return as_pictures(images)
