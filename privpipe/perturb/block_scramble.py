"""Secret permutation of the pixels within each k×k block."""

from functools import cached_property
from typing import TYPE_CHECKING

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
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations, Permuted
from privpipe.perturb.keys import KeyRecovery, chance_of_permutation, of_permutations
from privpipe.perturb.keystream import Copies, OwnStreams, order
from privpipe.perturb.method import Drawing
from privpipe.perturb.sorting import sorted_second
from privpipe.perturb.values import Doubles, pixel_codes

if TYPE_CHECKING:
    from torch import Tensor

KEY_BYTES = 8  # the random numbers whose order is a permutation, one for each pixel


class BlockScramble(BlockPerturbation):
    """Pixel j of block b comes from pixel `permutation[b, j]` of the same block.

    A pixel moves with its three colours; every block has its own permutation; the same ones for all
    images under `scope: dataset`, fresh ones for each image under `scope: image`.
    """

    name = "block_scramble"
    summary = "the pixels of each block change places by a secret permutation"
    keyed = True
    exact = True
    undone_by_key = True
    permutes_within_blocks = True
    keeps_block_means = True
    falls_up_to = 16
    usual_sizes = (2, 4, 8)
    colour = "#6b46c1"

    @cached_property
    def permutations(self) -> NDArray[np.int32]:
        """The permutations of all images (`scope: dataset`), int32 (blocks, k*k)."""
        return order(self.shared_bytes(self._size).reshape(self.n_blocks, -1))

    @property
    def dataset_key(self) -> NDArray[np.int32]:
        """`permutations`."""
        return self.permutations

    def image_keys(self, images: Images, copies: Copies | None = None) -> NDArray[np.int32]:
        """The permutations of each image (`scope: image`), int32 (N, blocks, k*k)."""
        return self._own(images, self.own_streams(images, self._size, copies))

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        if self.scope == "dataset":
            return self._move(images, self.permutations, False)
        out, own = np.empty_like(images), self.own_streams(images, self._size, copies)
        for rows in cached(len(images), self._size):
            out[rows] = self._move(images[rows], self._own(images[rows], own), False)
        return out

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        return self._move(perturbed, self.given(keys, "permutations"), True)

    @property
    def _size(self) -> int:
        """Random bytes for the permutations of an image."""
        return KEY_BYTES * self.image_size * self.image_size

    def _own(self, images: Images, own: OwnStreams) -> NDArray[np.int32]:
        """The permutations of images, (N, blocks, k*k)."""
        return order(own.draw(images).reshape(len(images), self.n_blocks, KEY_BYTES * self.k * self.k))

    def _move(self, images: Array, permutations: NDArray[np.int32], back: bool) -> Array:
        """Permute, or undo it with `back`: the same permutations (blocks, k*k) for all, or (N, blocks, k*k)."""
        height, width, channels = images.shape[1:]
        if permutations.ndim == 3:
            pixels, sources = images.reshape(-1, channels), self._sources(permutations, back)
            sources += height * width * np.arange(len(sources))[:, None]
            return np.take(pixels, sources.ravel(), axis=0).reshape(-1, height, width, channels)
        out, sources = np.empty_like(images), self._sources(permutations[None], back)[0]
        for rows, image in side_by_side(images):
            moved = np.take(image.reshape(height * width, -1), sources, axis=0)
            out[rows] = one_by_one(moved.reshape(image.shape), channels)
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

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.n_blocks, self.k * self.k)

    def key_equations(self) -> Equations:
        """In each block a permutation of the pixels, which every image and colour must obey."""

        def pixels(images: Array) -> Doubles:
            blocks = to_blocks(images, self.k).transpose(1, 0, 3, 2)
            return np.ascontiguousarray(blocks.reshape(len(blocks), -1, self.k * self.k), dtype=np.float64)

        return Permuted(pixels)

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_permutations(estimate, truth)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return chance_of_permutation(self.k**2)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the sorted values of each block and colour, which no permutation changes."""
        return -squared_distances(*(sorted_second(to_blocks(images, self.k), 2) for images in (targets, gallery)))

    def orbit(self, images: Images) -> Array:
        """The pixels of each block, sorted: a permutation moves each with all its colours."""
        return np.sort(pixel_codes(to_blocks(images, self.k)), axis=2)

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """The guess is the mean of each block."""
        from privpipe.perturb.network_inputs import block_mean, units

        image = units(images)
        return block_mean(image, self.k), image

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """The pixels of each block in the order of their brightness."""
        from privpipe.perturb.network_inputs import blocks_of

        blocks = blocks_of(image, self.k)
        batch, channels, n, rows, columns = blocks.shape
        # Roots of whole numbers as weights of the colours: only equal pixels are equally bright.
        weights = image.new_tensor([*range(1, channels + 1)]).sqrt().reshape(-1, 1, 1, 1)
        brightness = (blocks * weights).sum(dim=1, keepdim=True)
        ranks = brightness.argsort(dim=2, stable=True).expand_as(blocks)
        return blocks.gather(2, ranks).reshape(batch, channels * n, rows, columns)

    def drawing(self) -> Drawing:
        k = self.k
        title = f"one block of {k}×{k}: the pixel that each place receives"
        return Drawing(title, self.permutations[0].reshape(k, k), whole=True)
