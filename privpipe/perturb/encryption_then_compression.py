"""The block scrambling of encryption-then-compression systems (EtC) by Chuman, Kiya and others."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from privpipe.perturb.base import Array, Images, cached
from privpipe.perturb.block_forms import block_forms
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations, Permuted
from privpipe.perturb.keyed_values import KeyedValues, Moves
from privpipe.perturb.keys import KeyRecovery, of_permutations
from privpipe.perturb.keystream import Bytes, below, order
from privpipe.perturb.method import Drawing
from privpipe.perturb.values import Doubles

if TYPE_CHECKING:
    from torch import Tensor

NUMBER_BYTES = 8  # a random number for the place of each block, another for its form


class EncryptionThenCompression(KeyedValues):
    """EtC: block b is block `key[b]` mod blocks of the image, in form key[b] div blocks; key is (blocks,).

    A form is one of the eight rotations and reflections of a square, as it is or negative (255 - v, all colours alike),
    in one of C! orders of the colours: 96 forms for three colours, each as likely, so that a block is negative with
    probability 1/2. Then the blocks are permuted. Published for JPEG-compressed images with blocks of 16×16; for small
    images classifiers are trained on, blocks of 4×4 (k = 4) are usual.

    Sources: K. Kurihara, M. Kikuchi, S. Imaizumi, S. Shiota and H. Kiya, "An Encryption-then-Compression System for
    JPEG/Motion JPEG Standard", IEICE Transactions 2015; T. Chuman, W. Sirichotedumrong and H. Kiya,
    "Encryption-then-Compression Systems using Grayscale-based Image Encryption for JPEG Images", IEEE TIFS 2019,
    arXiv 1811.00236.
    """

    name = "encryption_then_compression"
    summary = "blocks are rotated, reflected, made negative, their colours reordered, and change places (EtC)"
    usual_sizes = (4, 8, 16)
    colour = "#744210"

    def key_bytes(self, channels: int) -> int:
        return 2 * NUMBER_BYTES * self.n_blocks

    def drawn(self, stream: Bytes, channels: int) -> Array:
        places, forms = np.split(stream, 2, axis=1)
        keys: Array = order(places) + self.n_blocks * below(forms, len(block_forms(self.k, channels)))
        return keys

    def change(self, keys: Array, channels: int) -> Moves:
        n, (forms, sources) = self.block_values(channels), np.divmod(keys, self.n_blocks)
        inside, flips = _parts(block_forms(self.k, channels))
        places = inside[forms] + n * sources[..., None]
        return Moves(places.reshape(len(keys), -1), flips[forms].reshape(len(keys), -1))

    def block_variants(self, channels: int) -> Array | None:
        return block_forms(self.k, channels)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.n_blocks,)

    def key_equations(self) -> Equations:
        """One permutation of the blocks and of their forms, which every image must obey."""

        def blocks(images: Array) -> Doubles:
            return rows(self.values(images))

        def rows(values: Array) -> Doubles:
            return np.ascontiguousarray(values.transpose(0, 2, 1).reshape(1, -1, self.n_blocks), dtype=np.float64)

        def forms(images: Array) -> Iterator[Doubles]:
            return map(rows, self._forms(self.values(images), images.shape[-1]))

        return Permuted(blocks, lambda places, forms: (places + self.n_blocks * forms)[0], forms)

    def _forms(self, values: Bytes, channels: int) -> Iterator[Bytes]:
        """The blocks (..., n) in each form."""
        for inside, flips in zip(*_parts(block_forms(self.k, channels)), strict=True):
            yield values.take(inside, axis=-1) ^ flips

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_permutations(estimate, truth)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return KeyRecovery(1 / (self.n_blocks * len(block_forms(self.k, channels))), 0.0)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By `orbit`, as near as it comes."""
        return -squared_distances(self.orbit(targets), self.orbit(gallery))

    def orbit(self, images: Images) -> Array:
        """The blocks, each in the form that is first in the order of bytes, sorted."""
        values = self.values(images)
        words, n = f"S{values.shape[2]}", values.shape[2]
        for rows in cached(len(values), values.shape[1] * n):
            best = values[rows].view(words)
            for form in self._forms(values[rows].copy(), images.shape[-1]):
                other = form.view(words)
                np.copyto(best, other, where=other < best)
        return np.sort(values.view(words), axis=1).view(np.uint8).reshape(len(values), -1, n)

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """The guess is how far the values of a block are from grey on average, wherever the block was."""
        from privpipe.perturb.network_inputs import block_mean, units

        image = units(images)
        return block_mean(-image.abs(), self.k).mean(dim=1, keepdim=True).expand_as(image), image

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """The values of each block, of v and 255 - v the smaller one, sorted."""
        from privpipe.perturb.network_inputs import sorted_values

        return sorted_values(image, self.k, 0.0)

    def weakness(self) -> str | None:
        if self.n_blocks > 1:
            return None
        return "The image is a single block: rotated or reflected, perhaps negative, it shows as it is."

    def drawing(self) -> Drawing:
        side = self.image_size // self.k
        title = f"blocks of {self.k}×{self.k}: the block that each place receives"
        return Drawing(title, (self.dataset_key % self.n_blocks).reshape(side, side), whole=True)


def _parts(forms: Array) -> tuple[Array, Bytes]:
    """Sources within the block, and what they are xored with, (forms, n) each."""
    n = forms.shape[1]
    negative = forms >= n
    return forms - n * negative, negative * np.uint8(255)
