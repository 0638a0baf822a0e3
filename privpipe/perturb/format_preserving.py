"""FFX of AprilPyone and Kiya: at half of the places of a block, values are encrypted to values of 0..255."""

from dataclasses import dataclass

import cv2
import numpy as np

from privpipe.perturb.base import Array, Images
from privpipe.perturb.equations import Equations, Substituted
from privpipe.perturb.keyed_values import COLOURS, Change, KeyedValues
from privpipe.perturb.keys import KeyRecovery
from privpipe.perturb.keystream import Bytes, order
from privpipe.perturb.knowledge import NO_GROUP
from privpipe.perturb.method import Drawing
from privpipe.perturb.negative_positive import NUMBER_BYTES, half_of_places
from privpipe.perturb.values import Doubles

LEVELS = 256
COMPARED = 1 << 24  # comparisons at a time


@dataclass(frozen=True)
class Substitution(Change):
    """At some places, a bijection of 0..255.

    Args:
        places: uint8 (1, Q) or (images, Q): 255 where values are encrypted, else 0.
        tables: uint8 (1, 256) or (images, 256).
    """

    places: Array
    tables: Bytes

    def of(self, rows: slice) -> "Substitution":
        return self if len(self.places) == 1 else Substitution(self.places[rows], self.tables[rows])

    def apply(self, values: Bytes) -> Bytes:
        lines = np.ascontiguousarray(values.swapaxes(1, 2)).reshape(len(self.tables), -1, values.shape[1])
        # The bits that encryption changes, of all values; those at other places are then left as they are.
        bits = np.empty_like(lines)
        for own, table, changed in zip(lines, self.tables ^ np.arange(LEVELS, dtype=np.uint8), bits, strict=True):
            cv2.LUT(own, table, changed)
        bits &= self.places[:, None]
        bits ^= lines
        return bits.reshape(len(values), -1, values.shape[1]).swapaxes(1, 2)

    def inverse(self) -> "Substitution":
        return Substitution(self.places, np.argsort(self.tables, axis=1).astype(np.uint8))


class FormatPreserving(KeyedValues):
    """FFX: value v at place j of each block becomes `key[k²·C + v]` where key[j] is 1; key is uint8 (k²·C + 256,).

    Half of the places of a block, the same in all blocks, are encrypted by one bijection of 0..255, and the others
    left. The values of a block are those of its pixels row by row, of each its colours. Under `scope: dataset`, the
    scheme, all images share places and bijection; M = 4 of the paper is k = 4. The authors meant it against adversarial
    examples.

    Where they take FFX, a Feistel network over three decimal digits, this takes a bijection drawn uniformly from all:
    the order of 256 random numbers of the key. That is what such an encryption stands for (an ideal cipher on the
    values), and it keeps the result in 8 bits; NIST SP 800-38G allows no FF1 or FF3-1 on so few values.

    Source: M. AprilPyone and H. Kiya, "Block-wise Image Transformation with Secret Key for Adversarially Robust
    Defense", IEEE TIFS 2021, arXiv 2010.00801.
    """

    name = "format_preserving"
    summary = "at half of the places of a block values are replaced by a secret bijection of 0..255 (FFX)"
    alike = standing = True
    usual_sizes = (2, 4, 8)
    not_counted = NO_GROUP.format("half of the places are never encrypted")
    colour = "#22543d"

    def key_bytes(self, channels: int) -> int:
        return NUMBER_BYTES * (self.block_values(channels) + LEVELS)

    def drawn(self, stream: Bytes, channels: int) -> Array:
        first = NUMBER_BYTES * self.block_values(channels)
        return np.concatenate([half_of_places(stream[:, :first]), order(stream[:, first:]).astype(np.uint8)], axis=1)

    def change(self, keys: Array, channels: int) -> Substitution:
        places, tables = np.split(keys, [self.block_values(channels)], axis=1)
        return Substitution(self.across(places * np.uint8(255)), tables)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.block_values(channels) + LEVELS,)

    def key_equations(self) -> Equations:
        """A place where nothing changes is not encrypted; at the others, which value became which."""

        def places(images: Array) -> Array:
            columns = self.columns(images).transpose(1, 0, 2)
            return columns.reshape(len(columns), -1)

        return Substituted(places, lambda encrypted, table: np.concatenate([encrypted.astype(np.uint8), table]))

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        """The fraction of the 256 values whose encryption is right."""
        return KeyRecovery(float((estimate == truth)[..., -LEVELS:].mean()), None)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return KeyRecovery(1 / LEVELS, None)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the number of places that are the same in all blocks: half of them are, of the original."""
        one, other = self._numbers(targets), self._numbers(gallery)
        out = np.zeros((len(one), len(other)))
        step = max(1, COMPARED // (len(other) * one.shape[1]))
        for first in range(0, len(one), step):
            rows = slice(first, first + step)
            out[rows] = (one[rows, None] == other).sum(axis=2)
        return out

    def _numbers(self, images: Array) -> Array:
        """A number for what stands at each place in all blocks, uint64 (N, n); equal ones have equal numbers."""
        weights = np.random.default_rng(0).integers(0, 1 << 64, self.n_blocks, np.uint64)
        return np.asarray((self.columns(images) * weights).sum(axis=2, dtype=np.uint64))

    def weakness(self) -> str | None:
        return None if self.k > 1 else "A colour is encrypted, in all pixels alike: the others show the image as it is."

    def drawing(self) -> Drawing:
        title = f"one block of {self.k}×{self.k}, {COLOURS} colours: the places that are encrypted"
        return Drawing(title, self.dataset_key[:-LEVELS].reshape(self.k, -1), whole=True)
