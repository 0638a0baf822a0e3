"""How near reconstructions are to the originals: PSNR and SSIM of every picture."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from privpipe.attacker.records import as_pictures
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images

Values = NDArray[np.float64]

WHITE = 255.0
PSNR_CAP = 60.0  # dB; rounding to whole levels alone leaves a mean squared error of 1/12, which is 58.9 dB
# The settings of Wang et al. (2004).
SIGMA, TRUNCATE, WINDOW = 1.5, 3.5, 11
C1, C2 = (0.01 * WHITE) ** 2, (0.03 * WHITE) ** 2
CHUNK_VALUES = 1 << 20  # pixels and colours whose local statistics are held at a time: about 100 MB


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
    (2004), with its Gaussian window of 11×11 and sigma 1.5, wherever that lies inside the picture. It equals
    scikit-image's `structural_similarity` with those settings, for all pictures at once: the window is separable, so
    that local means are two matrix products. Under 11 pixels it does as scikit-image does with the largest odd
    `win_size` that fits: windows that overhang see the picture mirrored.

    Args, Raises: as `psnr`.
    """
    pictures = _rounded(originals, images)
    rows, columns = (_window(size) for size in originals.shape[1:3])

    def local_mean(values: Values) -> Values:
        """(n, H, W, C) to the means over windows (n, C, rows, columns)."""
        return np.asarray(rows @ values.transpose(0, 3, 1, 2) @ columns.T)

    out = np.empty(len(originals))
    step = max(1, CHUNK_VALUES // originals[0].size)
    for first in range(0, len(originals), step):
        part = slice(first, first + step)
        x, y = originals[part].astype(np.float64), pictures[part].astype(np.float64)
        mean_x, mean_y = local_mean(x), local_mean(y)
        squares, product = mean_x**2 + mean_y**2, mean_x * mean_y
        variances = local_mean(x**2 + y**2) - squares
        covariance = local_mean(x * y) - product
        similarity = (2 * product + C1) * (2 * covariance + C2)
        similarity /= (squares + C1) * (variances + C2)
        out[part] = similarity.mean(axis=(1, 2, 3))
    return out


def _window(size: int) -> Values:
    """The Gaussian window at every position along an axis of `size` pixels: (positions, size)."""
    margin = (min(WINDOW, size - 1 + size % 2) - 1) // 2
    smooth = gaussian_filter1d(np.eye(size), SIGMA, axis=0, mode="reflect", truncate=TRUNCATE)
    return np.asarray(smooth[margin : size - margin])


def _rounded(originals: Images, images: Array) -> Images:
    if originals.shape != images.shape or not len(originals):
        raise PrivpipeError(
            f"there must be one reconstruction of the shape of each original, {originals.shape}; got {images.shape}. "
            "Pass the attempt on these pictures."
        )
    return as_pictures(images)
