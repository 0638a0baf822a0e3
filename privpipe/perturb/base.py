"""What every transformation is: a pure function of images, public settings and key material."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb.keystream import KeyStream

Images = NDArray[np.uint8]
Array = NDArray[Any]


@dataclass(frozen=True)
class Perturbation(ABC):
    """One transformation with its settings, ready to apply.

    Args:
        image_size: height and width of the images in pixels.
        k: filter size (odd) or block size (divides `image_size`); ignored by `none`.
        scope: `dataset` (the same key material for all images) or `image` (fresh for each).
        sigma: noise strength in levels of 0..255; ignored by methods without noise.
        stream: the source of key material; may be None for a method that is not `keyed`.

    Output is uint8 in 0..255 where `exact`, else float16 in units where black is 0 and white is 1.
    """

    image_size: int
    k: int = 1
    scope: str = "dataset"
    sigma: float = 0.0
    stream: KeyStream | None = None

    name: ClassVar[str]
    keyed: ClassVar[bool] = False
    blocks: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    invertible: ClassVar[bool] = False
    noisy: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def legal_k(image_size: int) -> list[int] | None:
        """The values that `k` may have for images of `image_size` pixels; None where k has no meaning."""

    @abstractmethod
    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        """Perturb `images`, uint8 (N, H, W, C).

        Args:
            images: the pictures; image i is number `start + i` of its split.
            split: the part of the data set they belong to; with `start` it names the key material of
                each image under `scope: image`.
        """

    def invert(self, perturbed: Array, split: str = "train", start: int = 0) -> Array:
        """Undo `apply` with the same key material.

        Raises:
            PrivpipeError: the method has no inverse.
        """
        raise PrivpipeError(f"{self.name} has no inverse: it destroys information. Methods with one set `invertible`.")

    @property
    def dataset_key(self) -> Array | None:
        """What all images share under `scope: dataset`, in the form that the method documents; None if not keyed."""
        return None

    def image_keys(self, split: str, start: int, count: int) -> Array | None:
        """The same of each of `count` images under `scope: image`, (count, ...); None if not keyed."""
        return None

    @property
    def image_range(self) -> tuple[float, float]:
        """The values that stand for black and white in the output."""
        return (0.0, 255.0) if self.exact else (0.0, 1.0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the output."""
        return np.dtype(np.uint8 if self.exact else np.float16)

    def material(self) -> KeyStream:
        """The stream that all images share (`scope: dataset`)."""
        return self._keyed_stream().child("dataset")

    def image_material(self, split: str) -> KeyStream:
        """The stream whose child i is the stream of image i alone (`scope: image`)."""
        return self._keyed_stream().child("image", split)

    def _keyed_stream(self) -> KeyStream:
        if self.stream is None:
            raise PrivpipeError(f"{self.name} needs a key and got none. Pass the key that the keygen stage wrote.")
        size = [] if self.legal_k(self.image_size) is None else [self.k]
        return self.stream.child(self.name, *size)


class BlockPerturbation(Perturbation):
    """A transformation of each k×k block by itself; `k` divides `image_size`."""

    blocks = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return divisors(image_size)

    @property
    def n_blocks(self) -> int:
        return (self.image_size // self.k) ** 2


def divisors(n: int) -> list[int]:
    """All divisors of `n`, ascending: the block sizes that fit an image of `n` pixels."""
    return [d for d in range(1, n + 1) if n % d == 0]


def odd_sizes(n: int) -> list[int]:
    """Odd numbers up to `n`: the filter sizes for an image of `n` pixels."""
    return list(range(1, n + 1, 2))


def to_unit_float16(values: NDArray[np.float32], name: str) -> NDArray[np.float16]:
    """float32 values as float16, refusing what float16 cannot hold rather than clipping it.

    Raises:
        PrivpipeError: a value is beyond ±65504 or not finite.
    """
    most = np.finfo(np.float16).max
    # The extremes of values among which is NaN are NaN, which no comparison holds for.
    if not (values.min(initial=0) >= -most and values.max(initial=0) <= most):
        raise PrivpipeError(
            f"{name} gave values that float16 cannot hold (over 65504). Use a smaller perturb.k or sigma."
        )
    if not values.size:  # OpenCV refuses empty arrays
        return values.astype(np.float16)
    # To the nearest value, ties to even, as NumPy rounds, at twenty times its speed.
    bits: Array = cv2.convertFp16(values.reshape(1, -1))
    return bits.view(np.float16).reshape(values.shape)


# A transformation passes over its values several times, so it takes as many images at a time as stay in the cache of
# a core from one pass to the next. This is a share of it for one array; no result depends on it.
CACHE_BYTES = 1 << 19
# glibc returns memory that is freed to the kernel, which then clears every page of the next array: for some methods
# that took longer than the work. It keeps up to twice the largest block that it ever got back, so hand it one of
# 16 MB. Nothing touches the block, so it costs nothing; other allocators pay no heed.
np.empty(1 << 24, np.uint8)


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


# OpenCV takes pictures of at most 512 channels, and its filters treat channels alike: many images side by side as the
# channels of one picture cost one call instead of many. NumPy gains as well: all values of one place lie together.
CV_CHANNELS = 512


def side_by_side(images: Array, value_bytes: float = 1) -> Iterator[tuple[slice, Array]]:
    """Yield `(rows, picture)`: `images[rows]` (n, H, W, C) laid out as one picture (H, W, C * n), n <= 512 / C.

    Args:
        value_bytes: the size of a value in the largest array to be made of a picture, which is to stay in the cache.
    """
    count, height, width, channels = images.shape
    values = height * width * channels
    for rows in cached(count, value_bytes * values, CV_CHANNELS // channels):
        yield rows, cv2.transpose(images[rows].reshape(-1, values)).reshape(height, width, -1)


def one_by_one(picture: Array, channels: int) -> Array:
    """The images (n, H, W, C) of a picture (H, W, C * n) made by `side_by_side`, or (H, W) where C * n is 1."""
    height, width = picture.shape[:2]
    values = picture.reshape(height * width * channels, -1)
    # OpenCV has no float16; a transposition moves values whatever they mean.
    images = cv2.transpose(values.view(np.int16) if values.dtype == np.float16 else values).view(values.dtype)
    return images.reshape(-1, height, width, channels)


def to_blocks(images: Array, k: int) -> Array:
    """Cut (N, H, W, C) into non-overlapping k×k blocks: (N, blocks, k*k, C), row-major in image and block."""
    count, height, width, channels = images.shape
    tiles = images.reshape(count, height // k, k, width // k, k, channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(count, (height // k) * (width // k), k * k, channels)


def from_blocks(blocks: Array, image_size: int, k: int) -> Array:
    """Put (N, blocks, k*k, C) from `to_blocks` together again: (N, H, W, C)."""
    count, channels, side = len(blocks), blocks.shape[-1], image_size // k
    tiles = blocks.reshape(count, side, side, k, k, channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(count, image_size, image_size, channels)
