"""Secret linear mixing of the pixels within each k×k block."""

import math
from collections.abc import Iterator
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb.base import (
    Array,
    BlockPerturbation,
    Images,
    cached,
    from_blocks,
    one_by_one,
    side_by_side,
    to_blocks,
    to_unit_float16,
)
from privpipe.perturb.keystream import rounded_quantiles

WHITE = 255.0
FLOAT_BYTES = 4
FLOAT_WHOLE = 2**24  # whole numbers up to this are exact in float32
LARGEST = 4.33  # standard deviations that a weight may be off 0
CHUNK_VALUES = 4 << 20  # float64 values of images, or of fresh matrices, at a time: 32 MB
MAX_WEIGHTS = 1 << 27  # of all blocks of an image: 1 GB
Weights = NDArray[np.float32]


class BlockMix(BlockPerturbation):
    """Block b, as a vector of its k*k pixels / 255, becomes `matrices[b] @ vector`, each colour alone.

    The weights are independent N(0, 1/k²), so that the mean square of the pixels stays on average; every block has its
    own matrix, the same one for its colours; the same ones for all images under `scope: dataset`, fresh ones for each
    image under `scope: image`. A weight is one of 65,536 equally likely quantiles, rounded so coarsely that products
    with whole levels, and their sums over a block, are exact in float32 in whatever order a library adds: 512 steps to
    a standard deviation for k = 4, 128 for k = 8, 8 for k = 32. Only the last two operations round: the division by 255
    and float16.

    The inverse with the key is as good as the draw: it amplifies what float16 rounded away, relatively up to 2^-11, by
    the condition number of the matrix, which is a few times k² for a typical block and thousands for an unlucky one.
    """

    name = "block_mix"
    keyed = True
    invertible = True

    @cached_property
    def matrices(self) -> Weights:
        """The matrices of all images (`scope: dataset`), float32 (blocks, k*k, k*k)."""
        matrices: Weights = self._weights(self.material().halves(0, 1, self._count_weights()))[0]
        return matrices

    @property
    def dataset_key(self) -> Weights:
        """`matrices`."""
        return self.matrices

    def image_keys(self, split: str, start: int, count: int) -> Weights:
        """The matrices of images `start` .. `start + count - 1`, float32 (count, blocks, k*k, k*k)."""
        keys = np.empty((count, self.n_blocks, self.k * self.k, self.k * self.k), np.float32)
        for rows in self._own_rows(count):
            keys[rows] = self._own(split, start, rows)
        return keys

    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        out = np.empty(images.shape, np.float16)
        if self.scope == "image":
            for rows in self._own_rows(len(images)):
                blocks = to_blocks(images[rows], self.k).astype(np.float32)
                perturbed = self._mixed(self._own(split, start, rows), blocks)
                out[rows] = from_blocks(perturbed, self.image_size, self.k)
            return out
        # A matrix is read anew for every picture, so a large one wants large pictures.
        for rows, picture in side_by_side(images, FLOAT_BYTES * min(1.0, 64 / self.k**2)):
            perturbed = self._mixed(self.matrices, to_blocks(picture[None], self.k)[0].astype(np.float32))
            out[rows] = one_by_one(from_blocks(perturbed[None], self.image_size, self.k)[0], images.shape[-1])
        return out

    def invert(self, perturbed: Array, split: str = "train", start: int = 0) -> Array:
        """The images as float32 in 0..255, (N, H, W, C), not rounded; see the class for its accuracy."""
        out = np.empty(perturbed.shape, np.float32)
        for rows in self._chunks(perturbed):
            keys, vectors = self._keys(split, start, rows), self._vectors(perturbed[rows])
            out[rows] = self._images(WHITE * np.asarray(np.linalg.solve(keys, vectors)), perturbed.shape[-1])
        return out

    def _mixed(self, weights: Weights, blocks: NDArray[np.float32]) -> NDArray[np.float16]:
        """`weights` times blocks of levels (..., k*k, n), as stored."""
        mixed = weights @ blocks
        mixed /= np.float32(WHITE)
        return to_unit_float16(mixed, self.name)

    def _own(self, split: str, start: int, rows: slice) -> Weights:
        """The matrices of images `start + rows`, (n, blocks, k*k, k*k)."""
        count = rows.stop - rows.start
        return self._weights(self.image_material(split).halves(start + rows.start, count, self._count_weights()))

    def _own_rows(self, count: int) -> Iterator[slice]:
        """Rows to handle at a time under `scope: image`."""
        return cached(count, FLOAT_BYTES * self._count_weights())

    def _weights(self, numbers: NDArray[np.uint16]) -> Weights:
        """Matrices (n, blocks, k*k, k*k) from uniform numbers (n, weights of an image)."""
        # No sum of k*k products of a level and a weight reaches 2^24 steps.
        step = 2.0 ** math.ceil(math.log2(WHITE * LARGEST * self.k / FLOAT_WHOLE))
        weights = cv2.LUT(numbers, rounded_quantiles(1 / self.k, step))
        return np.asarray(weights, np.float32).reshape(len(numbers), self.n_blocks, self.k**2, self.k**2)

    def _count_weights(self) -> int:
        """How many weights an image has, checked."""
        weights = self.n_blocks * self.k**4
        if weights > MAX_WEIGHTS:
            raise PrivpipeError(
                f"{self.name} may have {MAX_WEIGHTS:,} weights per image; got {weights:,} with k = {self.k} and "
                f"{self.image_size} pixels. Use a smaller perturb.k."
            )
        return weights

    def _keys(self, split: str, start: int, rows: slice) -> NDArray[np.float64]:
        """What multiplies `_vectors` of the images `rows`."""
        keys = self.matrices if self.scope == "dataset" else self._own(split, start, rows)
        return keys.astype(np.float64)

    def _chunks(self, images: Array) -> list[slice]:
        """Rows to handle at a time."""
        per_image = images[:1].size or 1
        if self.scope == "image":
            per_image = max(per_image, self.n_blocks * self.k**4)
        step = max(1, CHUNK_VALUES // per_image)
        return [slice(first, min(first + step, len(images))) for first in range(0, len(images), step)]

    def _vectors(self, images: Array) -> NDArray[np.float64]:
        """Images (N, H, W, C) as columns: (blocks, k*k, N * C), or (N, blocks, k*k, C) under `scope: image`."""
        blocks = to_blocks(images, self.k)
        if self.scope == "dataset":  # one product per block for all images
            blocks = blocks.transpose(1, 2, 0, 3).reshape(self.n_blocks, self.k * self.k, -1)
        return blocks.astype(np.float64, order="C")

    def _images(self, vectors: NDArray[np.float64], channels: int) -> NDArray[np.float32]:
        """The inverse of `_vectors`, as float32."""
        if self.scope == "dataset":
            vectors = vectors.reshape(self.n_blocks, self.k * self.k, -1, channels).transpose(2, 0, 1, 3)
        return from_blocks(vectors, self.image_size, self.k).astype(np.float32)
