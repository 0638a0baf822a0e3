"""Blocks of one colour each; keyless, so anybody knows exactly what was done."""

import numpy as np

from privpipe.perturb.base import Array, BlockPerturbation, Images, one_by_one, side_by_side
from privpipe.perturb.keystream import Copies


class Pixelate(BlockPerturbation):
    """Every pixel of a k×k block becomes the block's mean, each colour alone, rounded to whole levels.

    In whole numbers throughout; a mean halfway between two levels goes up. It has no inverse: a block of k*k pixels
    keeps one value per colour.
    """

    name = "pixelate"
    exact = True

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty_like(images)
        n = self.k * self.k
        whole = np.min_scalar_type((2 * 255 + 1) * n)  # the smallest type that holds twice a sum and n
        for rows, picture in side_by_side(images, whole.itemsize):
            side = self.image_size // self.k
            tiles = picture.reshape(side, self.k, side, self.k, -1)
            # One axis at a time: NumPy adds whole rows, several values in each instruction.
            sums = tiles.astype(whole).sum(axis=1, dtype=whole).sum(axis=2, dtype=whole)
            means = ((2 * sums + n) // (2 * n)).astype(np.uint8)
            spread = np.broadcast_to(means[:, None, :, None], tiles.shape)
            out[rows] = one_by_one(spread.reshape(picture.shape), images.shape[-1])
        return out
