"""Pixel-based image encryption of Sirichotedumrong, Maekawa, Kinoshita and Kiya: each pixel by itself, no blocks."""

from functools import cache
from itertools import permutations, product
from math import factorial
from typing import TYPE_CHECKING

import numpy as np

from privpipe.perturb.base import Array, Images
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations, Permuted
from privpipe.perturb.keyed_values import COLOURS, KeyedValues, Moves
from privpipe.perturb.keys import KeyRecovery, of_permutations
from privpipe.perturb.keystream import Bytes, below
from privpipe.perturb.method import Drawing
from privpipe.perturb.values import Doubles

if TYPE_CHECKING:
    from torch import Tensor

NUMBER_BYTES = 8  # a random number for each pixel


class PixelBasedEncryption(KeyedValues):
    """Colour c of pixel p is its colour `key[p, c]`, or 255 less its colour key[p, c] - C; key is (H·W, C).

    Every value of every pixel is made negative or not by a key bit of its own (255 - v, that is v xor 255), and the
    colours of each pixel come in one of C! orders. A pixel keeps its place, so shapes stay. Under `scope: image` every
    image has a key of its own, as the authors train with different keys; under `scope: dataset` all share one.

    Source: W. Sirichotedumrong, T. Maekawa, Y. Kinoshita and H. Kiya, "Privacy-Preserving Deep Neural Networks with
    Pixel-based Image Encryption Considering Data Augmentation in the Encrypted Domain", ICIP 2019, arXiv 1905.01827.
    """

    name = "pixel_based_encryption"
    summary = "each value is made negative or not by a key bit, and the colours of each pixel are permuted"
    blocks = False
    colour = "#dd6b20"

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    @property
    def block_size(self) -> int:
        return 1

    def key_bytes(self, channels: int) -> int:
        return NUMBER_BYTES * self.n_blocks

    def drawn(self, stream: Bytes, channels: int) -> Array:
        keys: Array = signed_orders_of(channels)[below(stream, len(signed_orders_of(channels)))]
        return keys

    def change(self, keys: Array, channels: int) -> Moves:
        reverse = keys >= channels
        sources = keys + channels * (np.arange(self.n_blocks)[:, None] - reverse)
        return Moves(sources.reshape(len(keys), -1), (reverse * np.uint8(255)).reshape(len(keys), -1))

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.n_blocks, channels)

    def key_equations(self) -> Equations:
        """At each pixel a permutation of its colours and their negatives, which every image must obey."""

        def pixels(images: Array) -> Doubles:
            return np.ascontiguousarray(self.values(images).transpose(1, 0, 2), dtype=np.float64)

        return Permuted(pixels, lambda places, forms: places + places.shape[1] * forms, self.reverses(pixels))

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_permutations(estimate, truth)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return KeyRecovery(1 / (2 * channels), 1 / (2**channels * factorial(channels)))

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By `orbit`, as near as it comes."""
        return -squared_distances(self.orbit(targets), self.orbit(gallery))

    def orbit(self, images: Images) -> Array:
        """Of each pixel the colours, of v and 255 - v the smaller one, sorted."""
        return np.sort(self.folded(images), axis=2)

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """The guess is how far a pixel is from grey; with a key for each image, the image is what its key leaves."""
        from privpipe.perturb.network_inputs import units

        image = units(images)
        unchanged = (-image.abs()).sort(dim=1).values
        guess = unchanged.mean(dim=1, keepdim=True).expand_as(image)
        return guess, unchanged if self.scope == "image" else image

    def weakness(self) -> str | None:
        return None

    def drawing(self) -> Drawing:
        title = f"pixel by pixel: the value that its first colour receives, from {COLOURS} on negative"
        return Drawing(title, self.dataset_key[:, 0].reshape(self.image_size, -1), whole=True)


@cache
def signed_orders_of(n: int) -> Array:
    """All orders of n values and of their negatives, int32 (n! · 2^n, n): value j is value out[j], negative from n."""
    orders = [
        [value + n * sign for value, sign in zip(order, signs, strict=True)]
        for order in permutations(range(n))
        for signs in product((0, 1), repeat=n)
    ]
    return np.array(orders, np.int32)
