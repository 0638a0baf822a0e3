"""A layout of an image file: how to write it, and what must come out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privpipe.reading import Reading

PLAIN = Reading()
SIZE = 16  # of the images: what is read is not resized
Array = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """One way to write an image.

    Args:
        library: that writes it.
        kind: for the table.
        name: all that tells it from the others.
        suffix: of the file.
        write: writes the file.
        expected: what must come out, from the file as its own library reads it, uint8 (SIZE, SIZE, C); None where the
            file must be refused.
        refusal: words of the reason, where it must be refused.
        reading: how to read it.
        tolerance: greatest difference in levels of 0..255: 0 but for lossy compression and for colour conversions.
    """

    library: str
    kind: str
    name: str
    suffix: str
    write: Callable[[Path], None]
    expected: Callable[[Path], Array] | None
    refusal: str = ""
    reading: Reading = PLAIN
    tolerance: int = 0


def levels(values: Array, white: float, black: float = 0.0) -> Array:
    """Values (H, W) or (H, W, C) to uint8 (H, W, 3 or C), in exact arithmetic; one channel three times."""
    scaled = (values.astype(np.float64) - black) / (white - black) * 255
    out = np.floor(np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)
    return np.repeat(out[..., None], 3, axis=2) if out.ndim == 2 else out


def on_white(colours: Array, alpha: Array, white: float) -> Array:
    """Colours (H, W, C) with transparency (H, W) over white; to within one level."""
    opacity = (alpha / white)[..., None]
    out = levels(colours, white) * opacity + 255 * (1 - opacity)
    out = np.floor(out + 0.5).astype(np.uint8)
    return np.repeat(out, 3, axis=2) if out.shape[2] == 1 else out


def noise(dtype: Any, *shape: int, white: int | None = None, seed: int = 0) -> Array:
    """Values of anything up to `white`, or in all of the type's range; floats in 0..1."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind == "f":
        return rng.random(shape).astype(kind)
    low = np.iinfo(kind).min
    return rng.integers(low, white if white is not None else np.iinfo(kind).max, shape, kind, endpoint=True)


def first(values: Array) -> Array:
    """The channels of an array (C, H, W) last."""
    return np.moveaxis(values, 0, -1)
