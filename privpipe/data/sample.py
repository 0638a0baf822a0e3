"""Percentiles of the values of a set of images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError


class Sample:
    """Values of a set, evenly spaced over each image, of which percentiles are taken: in bounded memory, for any type.

    Args:
        images: how many there will be.
        channels: of each.
    """

    VALUES = 2**24  # in all
    LEAST = 256  # of each image

    def __init__(self, images: int, channels: int):
        self.each = max(self.LEAST, self.VALUES // max(1, images * channels))
        self.parts: list[NDArray[Any]] = []

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """What an image (H, W, C) adds, float32 (n, C)."""
        flat = values.reshape(-1, values.shape[2])
        return flat[:: -(-len(flat) // self.each)].astype(np.float32)

    def add(self, part: NDArray[Any]) -> None:
        """Take what an image adds.

        Raises:
            PrivpipeError: it has another number of channels than those before it.
        """
        if self.parts and (first := self.parts[0].shape[1]) != part.shape[1]:
            raise PrivpipeError(
                f"images of {first} and of {part.shape[1]} channels have no black and white in common; set "
                "data.channels to those that all of them have, such as [1, 2]."
            )
        self.parts.append(part)

    def limits(self, saturated: float, common: bool) -> tuple[Any, Any]:
        """The percentiles `saturated` and 100 - `saturated`, float (C,) each; one of all channels where `common`."""
        values = np.concatenate(self.parts)
        if common:
            values = values.reshape(-1, 1)
        return tuple(np.percentile(values, [saturated, 100 - saturated], axis=0))
