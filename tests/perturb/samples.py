"""Keys and images that the tests of the transformations share."""

import numpy as np
from numpy.typing import NDArray

from privpipe.perturb import METHODS, KeyStream, Perturbation

KEY, OTHER_KEY = KeyStream(bytes(range(32))), KeyStream(bytes(range(1, 33)))
SIGMA = 25.0  # of the noise, in levels of 0..255


def sample_images(count: int, size: int, channels: int = 3) -> NDArray[np.uint8]:
    """Independent uniform pixels, uint8 (count, size, size, channels)."""
    return np.random.default_rng(size).integers(0, 256, (count, size, size, channels), np.uint8)


def method(
    name: str, size: int, k: int = 1, scope: str = "dataset", *, sigma: float = SIGMA, key: KeyStream | None = KEY
) -> Perturbation:
    return METHODS[name](size, k, scope, sigma, key)
