"""One plane of several, as `data.stack` says."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from privpipe.data.raster import RefusedError
from privpipe.reading import Stack


def one_of(planes: NDArray[Any], stack: Stack, what: str) -> NDArray[Any]:
    """The plane (H, W, C) that stands for `planes` (N, H, W, C).

    Args:
        what: the planes are, for the message: "12 planes (Z 12)".

    Raises:
        RefusedError: there are several, and `stack` is `refuse`.
    """
    if len(planes) > 1 and stack == "refuse":
        raise RefusedError(
            f"holds {what}, not one image: set data.stack to max (the greatest value of each pixel) or first, or save "
            "the one that you mean"
        )
    out: NDArray[Any] = planes[0] if len(planes) == 1 or stack == "first" else np.max(planes, axis=0)
    return out
