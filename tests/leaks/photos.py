"""Images with the statistics of photographs: each is unique down to its details, and known to no archive."""

import cv2
import numpy as np
from numpy.typing import NDArray


def photographs(count: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Images uint8 (count, size, size, 3): smoothed noise of every scale, as much of each octave as photographs have,
    with edges of discs and bars laid over it, in colours that go together."""
    rng = np.random.default_rng(seed)
    return np.stack([_photograph(size, rng) for _ in range(count)])


def _photograph(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    plane = np.zeros((size, size), np.float32)
    for octave in range(6):
        cells = min(size, 2 ** (octave + 1))
        noise = rng.standard_normal((cells, cells)).astype(np.float32)
        plane += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC) * 0.75**octave
    for _ in range(5):
        centre = rng.integers(0, size, 2)
        mask = np.zeros((size, size), np.uint8)
        if rng.random() < 0.5:
            cv2.circle(mask, centre.tolist(), int(rng.integers(size // 10, size // 3)), 1, -1)
        else:
            cv2.line(mask, centre.tolist(), rng.integers(0, size, 2).tolist(), 1, int(rng.integers(1, size // 8 + 2)))
        plane[mask == 1] = 0.5 * plane[mask == 1] + rng.normal(0, 2)
    plane = (plane - plane.mean()) / plane.std()
    tint = 1 + 0.25 * rng.standard_normal(3)
    image = 128 + rng.normal(0, 15, 3) + 48 * plane[..., None] * tint + rng.normal(0, 4, (size, size, 3))
    return image.clip(0, 255).astype(np.uint8)
