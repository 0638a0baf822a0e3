"""What stored values mean: grey levels, rounding."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Array = NDArray[Any]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


# Variances of an error that is uniform within half a unit in the last place.
ROUNDING_OF_INTEGERS = 1 / 12  # in squared grey levels
ROUNDING_NEAR_WHITE = 2.0**-22 / 12  # of float16, which keeps 11 bits, where white is 1


def pixel_values(images: Array) -> Floats:
    """Stored images, uint8 or float16 in units where white is 1, as float32 in grey levels of 0..255."""
    if images.dtype == np.uint8:
        return images.astype(np.float32)
    return images.astype(np.float32) * np.float32(255)


SPACED = 1 << 23  # values whose rounding is looked at together: 64 MB


def rounding_variance(perturbed: Array, white: float = 1.0, least: float = 1e-12) -> float:
    """Mean variance of the error of rounding to the type of stored images, in units where white is `white`.

    Half a unit in the last place is the most, and all errors up to it are about equally likely. Zeros are exact or
    tiny; `least` keeps systems regular.
    """
    if perturbed.dtype == np.uint8:
        return (white / 255) ** 2 / 12
    step = max(1, SPACED // perturbed[0].size)
    parts = [np.spacing(np.abs(perturbed[first : first + step])) for first in range(0, len(perturbed), step)]
    squares = sum(float((part.astype(np.float64) ** 2).mean()) * len(part) for part in parts)
    return max(squares / len(perturbed) / 12 * white**2, least)


def pixel_codes(images: Images) -> NDArray[np.uint32]:
    """One number for the channels of each pixel, equal for equal pixels alone: (..., C), at most 4, to (...)."""
    codes = np.zeros(images.shape[:-1], np.uint32)
    for channel in range(images.shape[-1]):
        codes = codes << np.uint32(8) | images[..., channel]
    return codes


def divisors(n: int) -> list[int]:
    """All divisors of `n`, ascending: the block sizes that fit an image of `n` pixels."""
    return [d for d in range(1, n + 1) if n % d == 0]
