"""SHF of AprilPyone and Kiya: the values of each block change places, by one key for all blocks."""

from typing import TYPE_CHECKING

import numpy as np

from privpipe.perturb.base import Array, Images
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations, Permuted
from privpipe.perturb.keyed_values import COLOURS, KeyedValues, Moves
from privpipe.perturb.keys import KeyRecovery, chance_of_permutation, of_permutations
from privpipe.perturb.keystream import Bytes, order
from privpipe.perturb.method import Drawing
from privpipe.perturb.sorting import sorted_second
from privpipe.perturb.values import Doubles

if TYPE_CHECKING:
    from torch import Tensor

NUMBER_BYTES = 8  # a random number for each value of a block


class ValueShuffling(KeyedValues):
    """SHF: value j of each block is its value `key[j]`; key is (k²·C,), a permutation of pixels and colours together.

    The values of a block are those of its pixels row by row, of each its colours. Unlike under block_scramble, one
    permutation serves all blocks, and colours part from their pixels. Under `scope: dataset`, the scheme, it serves all
    images; M = 4 of the paper is k = 4. The authors meant it against adversarial examples.

    Source: M. AprilPyone and H. Kiya, "Block-wise Image Transformation with Secret Key for Adversarially Robust
    Defense", IEEE TIFS 2021, arXiv 2010.00801.
    """

    name = "value_shuffling"
    summary = "the values of each block, colours and pixels together, are permuted by one key for all blocks (SHF)"
    alike = True
    usual_sizes = (2, 4, 8)
    colour = "#2c7a7b"

    def key_bytes(self, channels: int) -> int:
        return NUMBER_BYTES * self.block_values(channels)

    def drawn(self, stream: Bytes, channels: int) -> Array:
        return order(stream)

    def change(self, keys: Array, channels: int) -> Moves:
        return Moves.signed(keys, self.levels)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.block_values(channels),)

    def key_equations(self) -> Equations:
        """One permutation of the values of a block, which every block of every image must obey."""

        def values(images: Array) -> Doubles:
            return self.values(images).reshape(1, -1, self.block_values(images.shape[-1])).astype(np.float64)

        return Permuted(values, lambda places, _: places[0])

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_permutations(estimate, truth)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return chance_of_permutation(self.block_values(channels))

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the sorted values of each block."""
        return -squared_distances(*(sorted_second(self.values(images), 2) for images in (targets, gallery)))

    def orbit(self, images: Images) -> Array:
        """What stands at each place of a block, in all blocks, sorted: one permutation moves these columns."""
        columns = self.columns(images)
        sorted_: Array = np.sort(columns.view(f"S{self.n_blocks}"), axis=1).view(np.uint8)
        return sorted_.reshape(columns.shape)

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """The guess is the mean of all values of a block."""
        from privpipe.perturb.network_inputs import block_mean, units

        image = units(images)
        return block_mean(image, self.k).mean(dim=1, keepdim=True).expand_as(image), image

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """The values of each block, sorted."""
        from privpipe.perturb.network_inputs import sorted_values

        return sorted_values(image, self.k)

    def weakness(self) -> str | None:
        return None if self.k > 1 else "The colours change places, in all pixels alike: the image shows as it is."

    def drawing(self) -> Drawing:
        title = f"one block of {self.k}×{self.k}, {COLOURS} colours: the value that each place receives"
        return Drawing(title, self.dataset_key.reshape(self.k, -1), whole=True)
