"""Square windows of images that are too large for covariances between all their pixels.

    for window in windows(128, side=32, unit=8, overlap=True):
        part = window.of(images)          # (N, 32, 32, C)

What a pixel tells of others it tells of those nearby, so that an attack on windows loses little, and its memory and
time grow with the number of pixels instead of its square. Where a perturbation has blocks, windows hold whole ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Perturbation

WHOLE = 32  # pixels along a side up to which an image is handled whole, and of windows
LARGEST = 64  # of windows for large k: covariances of 64x64 pixels take 134 MB for a component of colour
ENOUGH = 4  # times k that a window should have along a side


@dataclass(frozen=True)
class Window:
    """A window of an image.

    Args:
        top, left, side: in pixels.
        core: rows and columns of the image for which this window is the one to ask.
        cut: whether the image goes on beyond the top, the bottom, the left and the right of it.
    """

    top: int
    left: int
    side: int
    core: tuple[slice, slice]
    cut: tuple[bool, bool, bool, bool]

    def of(self, images: Array) -> Array:
        """The window of images (N, H, W, C), a view."""
        return images[:, self.top : self.top + self.side, self.left : self.left + self.side]

    @property
    def inner_core(self) -> tuple[slice, slice]:
        """The core, counted from the corner of the window."""
        rows, columns = self.core
        return (
            slice(rows.start - self.top, rows.stop - self.top),
            slice(columns.start - self.left, columns.stop - self.left),
        )

    def blocks(self, image_size: int, k: int) -> NDArray[np.intp]:
        """The numbers of its k×k blocks in the image, row by row."""
        rows, columns = (np.arange(start // k, (start + self.side) // k) for start in (self.top, self.left))
        return (rows[:, None] * (image_size // k) + columns).ravel()

    def complete(self, reach: int) -> NDArray[np.bool_]:
        """(side, side): of which pixels all pixels within `reach` are in the window, or beyond the image's border."""
        inside = np.ones((self.side, self.side), bool)
        if reach:
            top, bottom, left, right = self.cut
            inside[: reach * top] = inside[self.side - reach * bottom :] = False
            inside[:, : reach * left] = inside[:, self.side - reach * right :] = False
        return inside


def unit_of(method: Perturbation) -> int:
    """Windows begin and end at multiples of this."""
    return method.k if method.blocks else 1


def reach_of(method: Perturbation) -> int:
    """How many pixels away the perturbation looks from a pixel, over the borders of windows."""
    return 0 if method.blocks or method.legal_k(method.image_size) is None else method.k // 2


def side_of(method: Perturbation) -> int:
    """The side of windows for a method; the image's where it is handled whole.

    Raises:
        PrivpipeError: k is too large for windows.
    """
    if method.blocks:
        return side_for_blocks(method.image_size, method.k)
    return _side(method.image_size, 2 * reach_of(method) + 1)


def side_for_blocks(image_size: int, k: int) -> int:
    """As `side_of`, for k×k blocks: a multiple of k."""
    side = _side(image_size, k)
    return side if side == image_size else side // k * k


def _side(size: int, reach: int) -> int:
    wanted = WHOLE if ENOUGH * reach <= WHOLE else min(LARGEST, ENOUGH * reach)
    if size <= wanted:
        return size
    if reach > wanted:
        raise PrivpipeError(
            f"images over {LARGEST}x{LARGEST} are attacked in windows of at most that size, which k may not exceed; "
            f"got k = {reach} and {size} pixels. Use a smaller perturb.k or data.image_size."
        )
    return wanted


def windows(image_size: int, side: int, unit: int = 1, overlap: bool = False) -> list[Window]:
    """Windows that cover an image, row by row; the last ones are moved back to lie within it.

    Args:
        side: of a window, a multiple of `unit` as `image_size` is.
        overlap: by about a half, so that each core has surroundings; else only where they do not fit.
    """
    step = max(unit, side // 2 // unit * unit) if overlap else side
    starts = [*range(0, image_size - side, step), image_size - side]
    # Two windows meet in the middle of what they share.
    ends = [(after + before + side) // 2 for before, after in pairwise(starts)] + [image_size]
    spans = list(zip(starts, [0, *ends], ends, strict=False))
    return [
        Window(
            top,
            left,
            side,
            (slice(first, last), slice(start, stop)),
            (top > 0, top + side < image_size, left > 0, left + side < image_size),
        )
        for (top, first, last), (left, start, stop) in product(spans, spans)
    ]


def sample_windows(images: Array, side: int, unit: int, most: int) -> Array:
    """Windows of images (N, H, W, C) in turn, as many of each image: (n, side, side, C), n at most about `most`."""
    if images.shape[1] == side:
        return images[:most]
    places = windows(images.shape[1], side, unit)
    each = max(1, min(len(places), most // max(1, len(images))))
    return np.concatenate(list(_in_turn(images[:most], places, each)))


def _in_turn(images: Array, places: list[Window], each: int) -> Iterator[Array]:
    """`each` of the places of every image, those of the next image being the next ones."""
    for shift in range(len(places)):
        rows = images[shift :: len(places)]
        for number in range(each):
            yield places[(shift * each + number) % len(places)].of(rows)
