"""Secret permutation of the pixels within each k×k block."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.base import Array, BlockPerturbation, Images, from_blocks, to_blocks
from privpipe.perturb.keystream import order


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
        size = 8 * self.n_blocks * n
        keys = b"".join(self.image_material(split, start + i).bytes(size) for i in range(count))
        return order(np.frombuffer(keys, dtype="<u8").reshape(count, self.n_blocks, n))

    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        return self._move(images, self._sources(split, start, len(images)))

    def invert(self, perturbed: Array, split: str = "train", start: int = 0) -> Array:
        return self._move(perturbed, np.argsort(self._sources(split, start, len(perturbed)), axis=-1))

    def _sources(self, split: str, start: int, count: int) -> NDArray[np.int32]:
        if self.scope == "image":
            return self.image_keys(split, start, count)
        return self.permutations

    def _move(self, images: Array, permutations: NDArray[np.integer]) -> Array:
        """Gather pixels within blocks; `permutations` is (blocks, k*k) or (N, blocks, k*k)."""
        if permutations.ndim == 3:
            blocks = to_blocks(images, self.k)
            moved = np.take_along_axis(blocks, permutations[..., None], axis=2)
            return from_blocks(moved, self.image_size, self.k)
        # One gather over whole images: block permutations as one permutation of the H*W*C values.
        count, height, width, channels = images.shape
        places = np.arange(height * width * channels).reshape(1, height, width, channels)
        blocks = to_blocks(places, self.k)
        sources = from_blocks(
            np.take_along_axis(blocks, permutations[None, ..., None], axis=2), self.image_size, self.k
        )
        return np.take(images.reshape(count, sources.size), sources.ravel(), axis=1).reshape(images.shape)
