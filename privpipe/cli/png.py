"""PNG files: one image, or many on a sheet."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.files import write_bytes
from privpipe.report.display import displayable

SHEET_PIXELS = 64  # an image on a sheet is enlarged to about this many
GAP = 2


def write_png(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB or grey image, uint8 (H, W, 3) or (H, W, 1), exactly, atomically.

    Raises:
        PrivpipeError: the disk is full, or `path` cannot be written.
    """
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    write_bytes(path, data)


def sheet(images: NDArray[Any], image_range: tuple[float, float]) -> NDArray[np.uint8]:
    """Images (N, H, W, C), C 1 or 3, side by side in rows on white: an RGB image, uint8 (H', W', 3).

    Each is shown as it is where it keeps to `image_range`, else stretched to its own range.
    """
    count, height, width = images.shape[:3]
    scale = max(1, SHEET_PIXELS // max(height, width))
    columns = math.ceil(math.sqrt(count))
    step_y, step_x = height * scale + GAP, width * scale + GAP
    out = np.full((math.ceil(count / columns) * step_y + GAP, columns * step_x + GAP, 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * step_y + GAP, i % columns * step_x + GAP
        large = displayable(image, image_range).repeat(scale, axis=0).repeat(scale, axis=1)
        out[y : y + height * scale, x : x + width * scale] = large
    return out
