"""Blocks of one colour each; keyless, so anybody knows exactly what was done."""

import numpy as np
from scipy.sparse import csr_array

from privpipe.perturb.base import Array, BlockPerturbation, Images, one_by_one, side_by_side, to_blocks
from privpipe.perturb.keystream import Copies
from privpipe.perturb.linear import block_means
from privpipe.perturb.method import Drawing
from privpipe.perturb.values import Floats


class Pixelate(BlockPerturbation):
    """Every pixel of a k×k block becomes the block's mean, each colour alone, rounded to whole grey levels.

    In whole numbers throughout; a mean halfway between two grey levels goes up. It has no inverse: a block of k*k
    pixels keeps one value per colour.
    """

    name = "pixelate"
    summary = "each block becomes its mean"
    exact = True
    operator_without_key = True
    keeps_block_means = True
    usual_sizes = (2, 4, 8)
    colour = "#319795"

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty_like(images)
        n = self.k * self.k
        whole = np.min_scalar_type((2 * 255 + 1) * n)  # the smallest type that holds twice a sum and n
        for rows, image in side_by_side(images, whole.itemsize):
            side = self.image_size // self.k
            tiles = image.reshape(side, self.k, side, self.k, -1)
            # One axis at a time: NumPy adds whole rows, several values in each instruction.
            sums = tiles.astype(whole).sum(axis=1, dtype=whole).sum(axis=2, dtype=whole)
            means = ((2 * sums + n) // (2 * n)).astype(np.uint8)
            spread = np.broadcast_to(means[:, None, :, None], tiles.shape)
            out[rows] = one_by_one(spread.reshape(image.shape), images.shape[-1])
        return out

    def operator(self, key: Array | None) -> csr_array:
        """One value for each block, (blocks, H*W)."""
        return block_means(self.image_size, self.k)

    def image_operator(self, key: Array | None) -> csr_array:
        """Every pixel of a block has its mean, (H*W, H*W)."""
        means = self.operator(key)
        return (self.k * self.k) * (means.T @ means)

    def axis_operator(self) -> Floats | None:
        size, k = self.image_size, self.k
        return np.kron(np.eye(size // k), np.full((k, k), 1 / k)).astype(np.float32)

    def observations(self, values: Floats) -> Floats:
        return np.asarray(to_blocks(values, self.k).mean(axis=2))

    def drawing(self) -> Drawing:
        return Drawing(f"{self.name}: each block of {self.k}×{self.k} becomes its mean")
