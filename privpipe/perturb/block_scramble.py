"""Secret permutation of the pixels within each k×k block."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.base import (
    Array,
    BlockPerturbation,
    Images,
    cached,
    from_blocks,
    one_by_one,
    side_by_side,
    to_blocks,
)
from privpipe.perturb.keystream import order

KEY_BYTES = 8  # the random numbers whose order is a permutation, one for each pixel


class BlockScramble(BlockPerturbation):
    """Pixel j of block b comes from pixel `permutation[b, j]` of the same block.

    A pixel moves with its three colours; every block has its own permutation; the same ones for all
    images under `scope: dataset`, fresh ones for each image under `scope: image`.
    """

    name = "block_scramble"
    keyed = True
    exact = True
    invertible = True

    @cached_property
    def permutations(self) -> NDArray[np.int32]:
        """The permutations of all images (`scope: dataset`), int32 (blocks, k*k)."""
        return self.material().permutations(self.n_blocks, self.k * self.k)

    @property
    def dataset_key(self) -> NDArray[np.int32]:
        """`permutations`."""
        return self.permutations

    def image_keys(self, split: str, start: int, count: int) -> NDArray[np.int32]:
        """The permutations of images `start` .. `start + count - 1` (`scope: image`), int32 (count, blocks, k*k)."""
        n = self.k * self.k
        keys = self.image_material(split).numbered(start, count, 8 * self.n_blocks * n)
        return order(keys.view("<u8").reshape(count, self.n_blocks, n))

    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        return self._move(images, split, start, False)

    def invert(self, perturbed: Array, split: str = "train", start: int = 0) -> Array:
        return self._move(perturbed, split, start, True)

    def _move(self, images: Array, split: str, start: int, back: bool) -> Array:
        out = np.empty_like(images)
        height, width, channels = images.shape[1:]
        if self.scope == "image":
            for rows in cached(len(images), KEY_BYTES * height * width):
                pixels = images[rows].reshape(-1, channels)
                sources = self._sources(self.image_keys(split, start + rows.start, rows.stop - rows.start), back)
                sources += height * width * np.arange(len(sources))[:, None]
                out[rows] = np.take(pixels, sources.ravel(), axis=0).reshape(-1, height, width, channels)
            return out
        sources = self._sources(self.permutations[None], back)[0]
        for rows, picture in side_by_side(images):
            moved = np.take(picture.reshape(height * width, -1), sources, axis=0)
            out[rows] = one_by_one(moved.reshape(picture.shape), channels)
        return out

    def _sources(self, permutations: NDArray[np.int32], back: bool) -> NDArray[np.intp]:
        """Where each pixel of an image comes from, counted row by row: from (n, blocks, k*k) to (n, H * W).

        Args:
            back: whether the permutations are to be undone.
        """
        if back:
            permutations = np.argsort(permutations, axis=-1).astype(np.int32)
        size, k = self.image_size, self.k
        corners = to_blocks(np.arange(size * size, dtype=np.int32).reshape(1, size, size, 1), k)[0, :, :1, 0]
        # Pixel p of a block lies in its row p // k, and p - k * (p // k) pixels to the right.
        sources = permutations // k
        sources *= size - k
        sources += permutations
        sources += corners
        return from_blocks(sources[..., None], size, k).reshape(len(sources), -1).astype(np.intp)
