"""What every transformation is: a pure function of images, public settings and key material.

A method is one class in one file. What attacks, scores, figures and the page need to know of it are members of that
class too; `privpipe.perturb.knowledge` lists them.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb.keystream import Bytes, Copies, KeyStream, OwnStreams
from privpipe.perturb.knowledge import Knowledge
from privpipe.perturb.values import Array as Array
from privpipe.perturb.values import Images as Images
from privpipe.perturb.values import divisors


@dataclass(frozen=True)
class Perturbation(Knowledge):
    """One transformation with its settings, ready to apply.

    Args:
        image_size: height and width of the images in pixels.
        k: filter size (odd) or block size (divides `image_size`); ignored by `none`.
        scope: `dataset` (the same key material for all images) or `image` (fresh for each).
        sigma: noise strength in grey levels of 0..255; ignored by methods without noise.
        stream: the source of key material; may be None for a method that is not `keyed`.
        others: a method's `own_settings`, by name.

    Output is uint8 in 0..255 where `exact`, else float16 in units where black is 0 and white is 1. That of a method of
    `features` is no image, and has a shape of its own.
    """

    image_size: int
    k: int = 1
    scope: str = "dataset"
    sigma: float = 0.0
    stream: KeyStream | None = None

    @staticmethod
    @abstractmethod
    def legal_k(image_size: int) -> list[int] | None:
        """The values that `k` may have for images of `image_size` pixels; None where k has no meaning."""

    @abstractmethod
    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        """Perturb `images`, uint8 (N, H, W, C), to an array (N, *`output_shape`).

        Under `scope: image` the key material of an image follows from the secret, the settings and the image itself,
        wherever it stands; equal images differ by their running number.

        Args:
            copies: numbers equal images over several calls; None where these are all images there are.
        """

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        """Undo `apply`: (N, H, W, C), uint8 where `exact`, else float32 in grey levels of 0..255, not rounded.

        Args:
            keys: `dataset_key`, or `image_keys` of the images under `scope: image`, for which one has to have them
                already; None for a method that is not keyed.

        Raises:
            PrivpipeError: the method has no inverse.
        """
        raise PrivpipeError(f"{self.name} is not undone by its key. Methods that are set `undone_by_key`.")

    def given(self, keys: Array | None, material: str) -> Array:
        """`keys`, which undoing takes.

        Raises:
            PrivpipeError: there are none.
        """
        if keys is None:
            raise PrivpipeError(f"{self.name} is undone with its {material}; got none. Pass dataset_key or image_keys.")
        return keys

    @property
    def dataset_key(self) -> Array | None:
        """What all images share under `scope: dataset`, in the form that the method documents; None if not keyed.

        Where it depends on the number of colours it is that of images of three; `shared_key` has that of others.
        """
        return None

    def shared_key(self, channels: int) -> Array | None:
        """`dataset_key` for images of `channels` colours, of the form `key_form(channels)`."""
        return self.dataset_key

    def image_keys(self, images: Images, copies: Copies | None = None) -> Array | None:
        """The same of each of `images` (N, H, W, C) under `scope: image`, (N, ...); None if not keyed.

        Args:
            copies: as for `apply`.
        """
        return None

    def skip(self, images: Images, copies: Copies) -> None:
        """Count `images`, which were perturbed before, so that `copies` numbers those that follow them."""
        if self.keyed and self.scope == "image":
            self.own_streams(images, 0, copies).skip(images)

    @property
    def image_range(self) -> tuple[float, float]:
        """The values that stand for black and white in the output."""
        return (0.0, 255.0) if self.exact else (0.0, 1.0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the output."""
        return np.dtype(np.uint8 if self.exact else np.float16)

    def shared_bytes(self, size: int) -> Bytes:
        """`size` random bytes that all images share (`scope: dataset`), uint8 (1, size)."""
        return self._settings_stream("dataset").shared(size)

    def own_streams(self, images: Images, size: int, copies: Copies | None) -> OwnStreams:
        """`size` random bytes for each image alone (`scope: image`), for images of the shape of `images`."""
        return self._settings_stream("image").own(images.shape[1:], size, Copies() if copies is None else copies)

    def _settings_stream(self, scope: str) -> KeyStream:
        """The stream of this method with these settings and no others."""
        if self.stream is None:
            raise PrivpipeError(f"{self.name} needs a key and got none. Pass the key that the keygen stage wrote.")
        settings: list[str | int] = ["image_size", self.image_size]
        if self.legal_k(self.image_size) is not None:
            settings += ["k", self.k]
        if self.noisy:
            settings += ["sigma", float(self.sigma).hex()]  # exact, and 25 is 25.0
        for name, value in self.settings.items():
            settings += [name, value.hex()]
        return self.stream.child(self.name, *settings, "scope", scope)


class BlockPerturbation(Perturbation):
    """A transformation of each k×k block by itself; `k` divides `image_size`."""

    blocks = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return divisors(image_size)

    @classmethod
    def k_rule(cls, image_size: int) -> str:
        return f"divide data.image_size={image_size}"

    @property
    def n_blocks(self) -> int:
        return (self.image_size // self.k) ** 2

    def weakness(self) -> str | None:
        if self.k > 1:
            return None
        return "A block of one pixel has no order to hide: these are the images, at most scaled pixel by pixel."


class FilterPerturbation(Perturbation):
    """A transformation by a filter of k×k weights; `k` is odd and fits the image."""

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return odd_sizes(image_size)

    @classmethod
    def k_rule(cls, image_size: int) -> str:
        return f"be odd and at most data.image_size={image_size}"


def odd_sizes(n: int) -> list[int]:
    """Odd numbers up to `n`: the filter sizes for an image of `n` pixels."""
    return list(range(1, n + 1, 2))


HALF_MOST = float(np.finfo(np.float16).max)
ZERO = np.zeros(1)  # a number, to OpenCV


def to_unit_float16(
    values: NDArray[np.float32], name: str, most: float = math.inf, out: NDArray[np.float16] | None = None
) -> NDArray[np.float16]:
    """float32 values as float16, refusing what float16 cannot hold rather than clipping it.

    Args:
        values: of any shape, contiguous.
        most: a bound of their absolute values that is known beforehand and saves looking at them.
        out: where to put the result, contiguous and of the same shape; a new array for None.

    Raises:
        PrivpipeError: a value is beyond ±65504 or not finite.
    """
    # The extremes of values among which is NaN are NaN, which no comparison holds for.
    if most > HALF_MOST and not (values.min(initial=0) >= -HALF_MOST and values.max(initial=0) <= HALF_MOST):
        raise PrivpipeError(
            f"{name} gave values that float16 cannot hold (over 65504). Use a smaller perturb.k or sigma."
        )
    if out is None:
        out = np.empty(values.shape, np.float16)
    if values.size:  # OpenCV refuses empty arrays
        # To the nearest value, ties to even, as NumPy rounds, at ten times its speed. Less 0.0 every value is itself.
        cv2.subtract(values.reshape(1, -1), ZERO, out.reshape(1, -1), dtype=cv2.CV_16F)
    return out


# A transformation passes over its values several times, so it takes as many images at a time as stay in the cache of
# a core from one pass to the next. This is a fraction of it for one array; no result depends on it.
CACHE_BYTES = 1 << 19


def cached(count: int, image_bytes: float, most: int | None = None) -> Iterator[slice]:
    """Yield ranges of rows that cover `count` images: about `CACHE_BYTES` in each, but one image at least.

    Args:
        image_bytes: of one image, in the largest of the arrays that are to stay in the cache.
        most: images in a range, if there is such a limit.
    """
    step = max(1, int(CACHE_BYTES / image_bytes))
    step = step if most is None else min(step, most)
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


# OpenCV takes images of at most 128 channels, and its filters treat channels alike: many images side by side as the
# channels of one image cost one call instead of many. NumPy gains as well: all values of one place lie together.
CV_CHANNELS = 128


def side_by_side(images: Array, value_bytes: float = 1) -> Iterator[tuple[slice, Array]]:
    """Yield `(rows, image)`: `images[rows]` (n, H, W, C) laid out as one image (H, W, C * n), n <= 128 / C.

    Args:
        value_bytes: the size of a value in the largest array to be made of an image, which is to stay in the cache.
    """
    count, height, width, channels = images.shape
    values = height * width * channels
    for rows in cached(count, value_bytes * values, CV_CHANNELS // channels):
        yield rows, cv2.transpose(images[rows].reshape(-1, values)).reshape(height, width, -1)


def one_by_one(image: Array, channels: int) -> Array:
    """The images (n, H, W, C) of an image (H, W, C * n) made by `side_by_side`, or (H, W) where C * n is 1."""
    height, width = image.shape[:2]
    values = image.reshape(height * width * channels, -1)
    return cv2.transpose(values).reshape(-1, height, width, channels)


def to_blocks(images: Array, k: int) -> Array:
    """Cut (N, H, W, C) into non-overlapping k×k blocks: (N, blocks, k*k, C), row-major in image and block."""
    count, height, width, channels = images.shape
    lines = _swapped(images.reshape(count, height // k, k, width // k, k * channels))
    return lines.reshape(count, (height // k) * (width // k), k * k, channels)


def from_blocks(blocks: Array, image_size: int, k: int) -> Array:
    """Put (N, blocks, k*k, C) from `to_blocks` together again: (N, H, W, C)."""
    count, channels, side = len(blocks), blocks.shape[-1], image_size // k
    lines = _swapped(blocks.reshape(count, side, side, k, k * channels))
    return lines.reshape(count, image_size, image_size, channels)


def _swapped(lines: Array) -> Array:
    """(N, a, b, c, values) as (N, a, c, b, values), contiguous.

    Values that stay together are moved as one item: that takes half the time.
    """
    items = np.ascontiguousarray(lines).view(f"V{lines.shape[-1] * lines.itemsize}")
    return np.ascontiguousarray(items.swapaxes(2, 3)).view(lines.dtype)
