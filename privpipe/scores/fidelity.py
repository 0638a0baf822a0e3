"""How near reconstructions are to the originals: PSNR and SSIM of every image.

Both of many images at a time: a stage scores thousands of small ones, and a library's call for each took longer than
the training of a small experiment.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.records import as_images
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images, cached, side_by_side

Values = NDArray[np.float64]

WHITE = 255.0
PSNR_CAP = 60.0  # dB; rounding to whole levels alone leaves a mean squared error of 1/12, which is 58.9 dB
SIGMA, WINDOW = 1.5, 11  # of the Gaussian window of SSIM, in pixels
K1, K2 = 0.01, 0.03  # of SSIM: they keep its quotients finite
DOUBLE_BYTES = 8


def psnr(originals: Images, images: Array) -> Values:
    """Peak signal-to-noise ratio of each image, 10·log10(255² / mean squared error) in dB, float64 (T,).

    At most `PSNR_CAP`: identical images have no finite ratio, and a mean should not hang on how many there are.

    Args:
        originals: uint8 (T, H, W, C).
        images: reconstructions, float32 in levels or uint8, of the same shape; clipped and rounded first.

    Raises:
        PrivpipeError: the shapes differ, or there are no images.
    """
    rounded = _rounded(originals, images)
    errors = np.empty(len(originals))
    for rows in cached(len(originals), DOUBLE_BYTES * originals[0].size):
        difference = originals[rows].astype(np.float64) - rounded[rows]
        errors[rows] = np.square(difference).reshape(len(difference), -1).mean(axis=1)
    least = WHITE**2 / 10 ** (PSNR_CAP / 10)
    return np.asarray(10 * np.log10(WHITE**2 / np.maximum(errors, least)))


def ssim(originals: Images, images: Array) -> Values:
    """Structural similarity of each image, at most 1, float64 (T,): mean over its windows and colours.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity"
    (2004), with its settings: a Gaussian window of 11×11 and sigma 1.5. In images under 11 pixels the
    window overhangs, and sees them reflected.

    Args, Raises: as `psnr`.
    """
    rounded = _rounded(originals, images)
    height, width, channels = originals.shape[1:]
    window = min(WINDOW, min(height, width) - 1 + min(height, width) % 2)
    edge = window // 2  # windows of full size have their centre this far inside
    weights = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
    least_mean, least_variance = (K1 * WHITE) ** 2, (K2 * WHITE) ** 2
    values = np.empty(len(originals))

    def mean(image: Values) -> Values:
        """Weighted mean over the window around each pixel."""
        blurred = cv2.sepFilter2D(image, cv2.CV_64F, weights, weights, borderType=cv2.BORDER_REFLECT)
        return np.asarray(blurred, np.float64).reshape(image.shape)

    pairs = (side_by_side(images, DOUBLE_BYTES) for images in (originals, rounded))
    for (rows, first), (_, second) in zip(*pairs, strict=True):
        x, y = first.astype(np.float64), second.astype(np.float64)
        mean_x, mean_y = mean(x), mean(y)
        squares, products = mean_x**2 + mean_y**2, mean_x * mean_y
        variances = mean(x * x + y * y) - squares
        covariance = mean(x * y) - products
        similarity = (2 * products + least_mean) * (2 * covariance + least_variance)
        similarity /= (squares + least_mean) * (variances + least_variance)
        inner = similarity[edge : height - edge, edge : width - edge]
        # The values of an image lie a step of `n` images apart.
        values[rows] = inner.reshape(-1, channels, rows.stop - rows.start).mean(axis=(0, 1))
    return values


def _rounded(originals: Images, images: Array) -> Images:
    if originals.shape != images.shape or not len(originals):
        raise PrivpipeError(
            f"there must be one reconstruction of the shape of each original, {originals.shape}; got {images.shape}. "
            "Pass the attempt on these images."
        )
    return as_images(images)
