"""The images as their owner holds them, whatever they were read from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class RawImages:
    """Labelled images; row i of `images` belongs to row i of `labels`.

    Attributes:
        images: (N, H, W, C) uint8, C-contiguous; for colour images C is red, green, blue.
        labels: (N,) int64, each an index into `class_names`.
        class_names: the classes by label.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)
