"""Secret permutation of the k×k blocks of an image, each kept as it is."""

import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.base import Array, BlockPerturbation, Images, from_blocks, to_blocks
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations, Permuted
from privpipe.perturb.keys import KeyRecovery, chance_of_permutation, of_permutations
from privpipe.perturb.keystream import Copies, order
from privpipe.perturb.method import Drawing
from privpipe.perturb.values import Doubles

KEY_BYTES = 8  # the random numbers whose order is a permutation, one for each block


class BlockPermutation(BlockPerturbation):
    """Block b comes from block `permutation[b]` of the same image; blocks are counted row by row.

    One permutation for all images under `scope: dataset`, a fresh one for each image under `scope: image`. What a block
    shows stays: a jigsaw puzzle, as block scrambling without its rotations and inversions leaves it (Chuman and Kiya,
    "A jigsaw puzzle solver-based attack on block-wise image encryption for privacy-preserving DNNs", 2022).
    """

    name = "block_permutation"
    summary = "whole blocks change places by a secret permutation"
    keyed = True
    exact = True
    undone_by_key = True
    usual_sizes = (2, 4, 8)
    colour = "#d69e2e"

    @property
    def dataset_key(self) -> NDArray[np.int32]:
        """The permutation of all images (`scope: dataset`), int32 (blocks,)."""
        shared: NDArray[np.int32] = order(self.shared_bytes(KEY_BYTES * self.n_blocks))[0]
        return shared

    def image_keys(self, images: Images, copies: Copies | None = None) -> NDArray[np.int32]:
        """The permutation of each image (`scope: image`), int32 (N, blocks)."""
        return order(self.own_streams(images, KEY_BYTES * self.n_blocks, copies).draw(images))

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        return self._moved(images, self.dataset_key if self.scope == "dataset" else self.image_keys(images, copies))

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        return self._moved(perturbed, np.argsort(self.given(keys, "permutations"), axis=-1))

    def _moved(self, images: Array, sources: Array) -> Array:
        """Each block from where `sources`, (blocks,) or (N, blocks), says."""
        blocks = to_blocks(images, self.k)
        moved = np.take_along_axis(blocks, sources.reshape(-1, self.n_blocks, 1, 1), axis=1)
        return from_blocks(moved, self.image_size, self.k)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.n_blocks,)

    def key_equations(self) -> Equations:
        """One permutation of the blocks, which every pixel, colour and image must obey."""

        def blocks(images: Array) -> Doubles:
            values = to_blocks(images, self.k).transpose(0, 2, 3, 1)
            return np.ascontiguousarray(values.reshape(1, -1, self.n_blocks), dtype=np.float64)

        return Permuted(blocks, key=lambda places, _: places[0])

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_permutations(estimate, truth)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return chance_of_permutation(self.n_blocks)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the blocks in the order of what they show, which no permutation changes."""
        return -squared_distances(self._sorted(targets), self._sorted(gallery))

    def _sorted(self, images: Array) -> Array:
        blocks = to_blocks(images, self.k).reshape(len(images), self.n_blocks, -1)
        return np.stack([own[np.lexsort(own.T)] for own in blocks])

    def orbit(self, images: Images) -> Array:
        """The blocks, sorted by what they show."""
        return self._sorted(images)

    def block_variants(self, channels: int) -> Array | None:
        """As they are."""
        return np.arange(self.k**2 * channels, dtype=np.int32)[None]

    def weakness(self) -> str | None:
        return "The image is a single block, which stays where it is." if self.n_blocks == 1 else None

    def drawing(self) -> Drawing:
        side = self.image_size // self.k
        title = f"blocks of {self.k}×{self.k}: the block that each place receives"
        return Drawing(title, self.dataset_key.reshape(side, side), whole=True)
