"""Blocks of one colour each; keyless, so anybody knows exactly what was done."""

import numpy as np

from privpipe.perturb.base import Array, BlockPerturbation, Images


class Pixelate(BlockPerturbation):
    """Every pixel of a k×k block becomes the block's mean, each colour alone, rounded to whole levels.

    In whole numbers throughout; a mean halfway between two levels goes up. It has no inverse: a block of k*k pixels
    keeps one value per colour.
    """

    name = "pixelate"
    exact = True

    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        count, height, width, channels = images.shape
        k, n = self.k, self.k * self.k
        tiles = images.reshape(count, height // k, k, width // k, k, channels)
        sums = tiles.sum(axis=(2, 4), dtype=np.uint32, keepdims=True)
        means = ((2 * sums + n) // (2 * n)).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(means, tiles.shape)).reshape(images.shape)
