"""NP of AprilPyone and Kiya: half of the places of a block are made negative, the same ones in all blocks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privpipe.perturb.base import Array, Images
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations, Permuted
from privpipe.perturb.keyed_values import COLOURS, Change, KeyedValues
from privpipe.perturb.keys import KeyRecovery
from privpipe.perturb.keystream import Bytes, order
from privpipe.perturb.knowledge import NO_GROUP
from privpipe.perturb.method import Drawing
from privpipe.perturb.values import Doubles

if TYPE_CHECKING:
    from torch import Tensor

NUMBER_BYTES = 8  # a random number for each place of a block


def half_of_places(stream: Bytes) -> Bytes:
    """Half of n places, rounded down, 1 at these and else 0, from random bytes (..., 8 * n): uint8 (..., n)."""
    orders = order(stream)
    places: Bytes = (orders < orders.shape[-1] // 2).astype(np.uint8)
    return places


@dataclass(frozen=True)
class Flips(Change):
    """Values that are reversed where they stand.

    Args:
        flips: uint8 (1, Q) or (images, Q): 255 where a value is reversed, else 0.
    """

    flips: Bytes

    def of(self, rows: slice) -> "Flips":
        return self if len(self.flips) == 1 else Flips(self.flips[rows])

    def apply(self, values: Bytes) -> Bytes:
        flipped: Bytes = values ^ self.flips[..., None]
        return flipped

    def inverse(self) -> "Flips":
        return self


class NegativePositive(KeyedValues):
    """NP: value j of each block becomes 255 - v where `key[j]` is 1; key is uint8 (k²·C,), half of it ones.

    The values of a block are those of its pixels row by row, of each its colours. The same places are negative in all
    blocks and, under `scope: dataset`, the scheme, in all images; M = 4 of the paper is k = 4. The authors meant it
    against adversarial examples.

    Source: M. AprilPyone and H. Kiya, "Block-wise Image Transformation with Secret Key for Adversarially Robust
    Defense", IEEE TIFS 2021, arXiv 2010.00801.
    """

    name = "negative_positive"
    summary = "half of the places of a block, the same in all blocks, are made negative by one secret key (NP)"
    alike = standing = True
    usual_sizes = (2, 4, 8)
    not_counted = NO_GROUP.format("exactly half of the places are negative")
    colour = "#553c9a"

    def key_bytes(self, channels: int) -> int:
        return NUMBER_BYTES * self.block_values(channels)

    def drawn(self, stream: Bytes, channels: int) -> Array:
        return half_of_places(stream)

    def change(self, keys: Array, channels: int) -> Flips:
        return Flips(self.across(keys * np.uint8(255)))

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.block_values(channels),)

    def key_equations(self) -> Equations:
        """At each place of a block, the value or its negative, in every block of every image."""

        def places(images: Array) -> Doubles:
            columns = self.columns(images).transpose(1, 0, 2)
            return np.ascontiguousarray(columns.reshape(len(columns), -1, 1), dtype=np.float64)

        return Permuted(places, lambda _, forms: forms[:, 0].astype(np.uint8), self.reverses(places))

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        """The fraction of places that are right, and how often all are."""
        right = estimate == truth
        return KeyRecovery(float(right.mean()), float(right.all(axis=-1).mean()))

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        n = self.block_values(channels)
        half = n // 2 / n
        return KeyRecovery(half**2 + (1 - half) ** 2, 0.0)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the smaller one of v and 255 - v at each place."""
        return -squared_distances(self.folded(targets), self.folded(gallery))

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """The guess is how far a value is from grey."""
        from privpipe.perturb.network_inputs import units

        image = units(images)
        return -image.abs(), image

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """How far each value of a block is from grey."""
        from privpipe.perturb.network_inputs import blocks_of

        return -blocks_of(image, self.k).abs().flatten(1, 2)

    def weakness(self) -> str | None:
        return None if self.k > 1 else "A colour is negative, in all pixels alike: the image shows as it is."

    def drawing(self) -> Drawing:
        title = f"one block of {self.k}×{self.k}, {COLOURS} colours: the places that are negative"
        return Drawing(title, self.dataset_key.reshape(self.k, -1), whole=True)
