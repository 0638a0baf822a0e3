"""Perturbed values as an image to look at. Apart from the figures: the command line has no Matplotlib."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = 4  # at most


def displayable(image: NDArray[Any], image_range: tuple[float, float]) -> NDArray[np.uint8]:
    """An image (H, W, C) as 8-bit RGB: as it is where it keeps to `image_range`, else stretched to its own range.

    Two channels are red and green, a fourth one is added as grey, as in ImageJ's composites. Of more, which are
    features and no colours, the mean is shown.
    """
    values = image.astype(np.float64)
    values = values.mean(axis=2, keepdims=True) if values.shape[2] > COLOURS else values
    low, high = image_range
    if values.min() < low or values.max() > high:
        low, high = float(values.min()), float(values.max())
    shown = np.rint(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)
    match shown.shape[2]:
        case 1:
            return np.repeat(shown, 3, axis=2)
        case 2:
            return np.concatenate([shown, np.zeros_like(shown[..., :1])], axis=2)
        case 4:
            return shown[..., :3] + np.minimum(shown[..., 3:], 255 - shown[..., :3])
    return shown
