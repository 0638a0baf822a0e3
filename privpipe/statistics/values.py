"""Arrays as the statistics use them."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]
Images = NDArray[np.uint8]  # (N, H, W, C)

BATCH = 250  # images of 32×32 at a time: maps of a few hundred channels stay within some 100 MB


def batches(count: int, size: int = BATCH) -> Iterator[slice]:
    """Rows 0..count - 1 in pieces."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def to_tensor(images: Images) -> Tensor:
    """uint8 (N, H, W, C) as float32 (N, C, H, W), values 0..255."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()
