"""Perturbed values as an image to look at. Apart from the figures: the command line has no Matplotlib."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def displayable(image: NDArray[Any], image_range: tuple[float, float]) -> NDArray[np.uint8]:
    """An image (H, W, C) as 8-bit RGB: as it is where it keeps to `image_range`, else stretched to its own range."""
    values = image.astype(np.float64)
    low, high = image_range
    if values.min() < low or values.max() > high:
        low, high = float(values.min()), float(values.max())
    shown = np.rint(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)
    return np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown
