"""Tanaka's learnable image encryption (LE): the nibbles of each block are reversed and permuted, by one key for all."""

from typing import TYPE_CHECKING

import numpy as np

from privpipe.perturb.base import Array, Images
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations, Permuted
from privpipe.perturb.keyed_values import COLOURS, KeyedValues, Moves
from privpipe.perturb.keys import KeyRecovery, of_permutations
from privpipe.perturb.keystream import Bytes, order
from privpipe.perturb.knowledge import NO_GROUP
from privpipe.perturb.method import Drawing
from privpipe.perturb.sorting import sorted_second
from privpipe.perturb.values import Doubles

if TYPE_CHECKING:
    from torch import Tensor

NUMBER_BYTES = 8  # a random number for each nibble


def signed_orders(stream: Bytes) -> Array:
    """What LE draws, from random bytes (..., 8 * n): int32 (..., n), nibble j is nibble out[j], reversed from n on.

    The order of the n little-endian numbers is a permutation p, their lowest bits s say which nibbles are reversed,
    before the permutation and again after it: of nibble j, s[p[j]] xor s[j] is left.
    """
    permutations, reverse = order(stream), (stream.view("<u8") & np.uint64(1)).astype(np.int32)
    left = np.take_along_axis(reverse, permutations, axis=-1) ^ reverse
    keys: Array = permutations + permutations.shape[-1] * left
    return keys


def chance_of_signed_order(n: int) -> KeyRecovery:
    """Of two keys of n nibbles: an entry agrees if both have one source and one sign; j from j is never reversed."""
    return KeyRecovery((1 / n + (1 - 1 / n) / 2) / n, 0.0)


class LearnableEncryption(KeyedValues):
    """LE: the 2·k²·C nibbles of a block, `key` (2·k²·C,) for all blocks: nibble j is nibble key[j], or the reverse of
    nibble key[j] - 2·k²·C.

    A block of k×k pixels and 3 colours becomes one of 6 channels: upper nibbles, then lower ones. The nibbles at keyed
    places are reversed (v becomes 15 - v), all are permuted, those at the same places are reversed again, and pairs of
    nibbles joined to bytes. Each place is reversed or not by a key bit of its own. One key serves all blocks, and,
    under `scope: dataset`, all images, which is the scheme; M = 4 of the paper is k = 4.

    Source: M. Tanaka, "Learnable Image Encryption", IEEE ICCE-TW 2018, arXiv 1804.00490.
    """

    name = "learnable_encryption"
    summary = "the nibbles of each block are reversed and permuted by one secret key for all blocks (LE)"
    nibbles = alike = True
    usual_sizes = (2, 4, 8)
    not_counted = NO_GROUP.format("a nibble that keeps its place is never reversed")
    colour = "#d53f8c"

    def key_bytes(self, channels: int) -> int:
        return NUMBER_BYTES * self.block_values(channels)

    def drawn(self, stream: Bytes, channels: int) -> Array:
        return signed_orders(stream)

    def change(self, keys: Array, channels: int) -> Moves:
        return Moves.signed(keys, self.levels)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.block_values(channels),)

    def key_equations(self) -> Equations:
        """One permutation of nibbles and their reverses, which every block of every image must obey."""

        def nibbles(images: Array) -> Doubles:
            return self.values(images).reshape(1, -1, self.block_values(images.shape[-1])).astype(np.float64)

        return Permuted(nibbles, lambda places, forms: (places + places.shape[1] * forms)[0], self.reverses(nibbles))

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_permutations(estimate, truth)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return chance_of_signed_order(self.block_values(channels))

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the nibbles of each block, of v and 15 - v the smaller one, sorted: no key changes these."""
        return -squared_distances(*(sorted_second(self.folded(images), 2) for images in (targets, gallery)))

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Nothing is known of the image but its nibbles; the guess is the perturbed block's mean, for its place."""
        from privpipe.perturb.network_inputs import block_mean, units

        image = units(images)
        return block_mean(image, self.k), image

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """The nibbles of each block, of v and 15 - v the smaller one, sorted."""
        from privpipe.perturb.network_inputs import sorted_nibbles

        return sorted_nibbles(image, self.k)

    def weakness(self) -> str | None:
        return None if self.k > 1 else "One key for all pixels changes all alike: what is equal stays so, shapes show."

    def drawing(self) -> Drawing:
        n = self.block_values(COLOURS)
        title = f"one block of {self.k}×{self.k}: the nibble that each place receives, from {n} on reversed"
        return Drawing(title, self.dataset_key.reshape(2 * self.k, -1), whole=True)
