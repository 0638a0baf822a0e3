"""Extended learnable encryption (ELE) of Madono et al.: blocks change places, then LE with a key for each place."""

from typing import TYPE_CHECKING

import numpy as np

from privpipe.perturb.base import Array, Images, from_blocks, to_blocks
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations, Nested, Permuted
from privpipe.perturb.keyed_values import COLOURS, NIBBLE, KeyedValues, Moves
from privpipe.perturb.keys import KeyRecovery, of_permutations
from privpipe.perturb.keystream import Bytes, Copies, order
from privpipe.perturb.knowledge import NO_GROUP
from privpipe.perturb.learnable_encryption import NUMBER_BYTES, chance_of_signed_order, signed_orders
from privpipe.perturb.method import Drawing
from privpipe.perturb.values import Doubles

if TYPE_CHECKING:
    from torch import Tensor


class ExtendedLearnableEncryption(KeyedValues):
    """ELE: the Q = 2·H·W·C nibbles of an image, `key` (blocks, 2·k²·C): nibble j of block b is nibble key[b, j] of the
    image, or the reverse of nibble key[b, j] - Q.

    Nibbles are counted block by block, as learnable_encryption counts them within a block. The blocks are permuted, and
    then each place has a key of its own, with which it does what learnable_encryption does. Under `scope: dataset`, the
    scheme, all images share these keys; M = 4 of the paper is k = 4.

    Source: K. Madono, M. Tanaka, M. Onishi and T. Ogawa, "Block-wise Scrambled Image Recognition Using Adaptation
    Network", AAAI Workshop on Artificial Intelligence of Things, 2020, arXiv 2001.07761.
    """

    name = "extended_learnable_encryption"
    summary = "blocks change places, then the nibbles of each are reversed and permuted by a key of its place (ELE)"
    nibbles = True
    usual_sizes = (2, 4, 8)
    not_counted = NO_GROUP.format("a nibble that keeps its place is never reversed")
    colour = "#702459"

    def key_bytes(self, channels: int) -> int:
        return NUMBER_BYTES * self.n_blocks * (1 + self.block_values(channels))

    def drawn(self, stream: Bytes, channels: int) -> Array:
        blocks, numbers = self._parts(stream)
        return self._joined(order(blocks), signed_orders(numbers))

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        if self.scope == "dataset":
            return super().apply(images, copies)
        out, channels = np.empty_like(images), images.shape[-1]
        own = self.own_streams(images, self.key_bytes(channels), copies)
        for rows in self._rows(images):
            out[rows] = self.images(self._sorted_by(own.draw(images[rows]), self.values(images[rows])), channels)
        return out

    def _sorted_by(self, stream: Bytes, values: Bytes) -> Bytes:
        """What `change` of the keys drawn from `stream` make of values (n, blocks, nibbles), four times as fast.

        Numbers that carry a nibble each in their last four bits are sorted, instead of looking up where it comes from.
        It is the same unless two numbers of a block agree in their first 60 bits. `stream` is sorted in place.
        """
        blocks, drawn = self._parts(stream if stream.flags.writeable else stream.copy())
        lowest = np.ascontiguousarray(drawn[..., ::NUMBER_BYTES])
        flips = lowest & np.uint8(1)
        flips *= np.uint8(NIBBLE)
        sources = order(blocks) + self.n_blocks * np.arange(len(values))[:, None]
        moved = values.reshape(-1, values.shape[2]).take(sources, axis=0)
        moved ^= flips
        lowest &= np.uint8(255 - NIBBLE)
        lowest |= moved
        drawn[..., ::NUMBER_BYTES] = lowest
        drawn.view("<u8").sort(axis=-1)
        out: Bytes = drawn[..., ::NUMBER_BYTES] & np.uint8(NIBBLE)
        out ^= flips
        return out

    def _parts(self, stream: Bytes) -> tuple[Bytes, Bytes]:
        """Random bytes for the permutation of the blocks, and for the nibbles of each place."""
        first = NUMBER_BYTES * self.n_blocks
        each = stream.shape[1] // self.n_blocks - NUMBER_BYTES
        return stream[:, :first], stream[:, first:].reshape(len(stream), self.n_blocks, each)

    def _joined(self, blocks: Array, within: Array) -> Array:
        """Keys from the permutations of the blocks (n, blocks) and of the nibbles, with signs, (n, blocks, nibbles)."""
        nibbles = within.shape[-1]
        reverse = within >= nibbles
        keys: Array = blocks[..., None] * nibbles + within + (self.n_blocks - 1) * nibbles * reverse.astype(np.int32)
        return keys

    def change(self, keys: Array, channels: int) -> Moves:
        return Moves.signed(keys.reshape(len(keys), -1), self.levels)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.n_blocks, self.block_values(channels))

    def key_equations(self) -> Equations:
        """First which block went where, by its nibbles without their order and signs; then LE at each place."""

        def blocks(images: Array) -> Doubles:
            rows = np.sort(self.folded(images), axis=2).transpose(0, 2, 1)
            return np.ascontiguousarray(rows.reshape(1, -1, self.n_blocks), dtype=np.float64)

        def nibbles(images: Array) -> Doubles:
            return np.ascontiguousarray(self.values(images).transpose(1, 0, 2), dtype=np.float64)

        def moved(images: Array, permutation: Array) -> Array:
            return from_blocks(to_blocks(images, self.k)[:, permutation], self.image_size, self.k)

        return Nested(
            Permuted(blocks, lambda places, _: places[0]),
            moved,
            Permuted(nibbles, lambda places, forms: places + places.shape[1] * forms, self.reverses(nibbles)),
            lambda outer, inner: self._joined(outer[None], inner[None])[0],
        )

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_permutations(estimate, truth)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        within = chance_of_signed_order(self.block_values(channels))
        return KeyRecovery(within.pixels / self.n_blocks, 0.0)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the blocks as sorted nibbles, of v and 15 - v the smaller one, in sorted order: no key changes these."""
        return -squared_distances(self._unchanged(targets), self._unchanged(gallery))

    def _unchanged(self, images: Array) -> Bytes:
        blocks = np.sort(self.folded(images), axis=2)
        return np.stack([own[np.lexsort(own.T)] for own in blocks])

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Nothing is known of the image but its nibbles; the guess is the mean of all, at all places."""
        from privpipe.perturb.network_inputs import block_mean, units

        image = units(images)
        return block_mean(image, self.image_size), image

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """The nibbles of each block, of v and 15 - v the smaller one, sorted; wherever the block was."""
        from privpipe.perturb.network_inputs import sorted_nibbles

        return sorted_nibbles(image, self.k)

    def drawing(self) -> Drawing:
        side = self.image_size // self.k
        title = f"blocks of {self.k}×{self.k}: the block that each place receives"
        sources = self.dataset_key[:, 0] // self.block_values(COLOURS) % self.n_blocks
        return Drawing(title, sources.reshape(side, side), whole=True)
