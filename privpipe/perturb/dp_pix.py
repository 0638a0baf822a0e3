"""DP-Pix: pixelation with Laplace noise on each cell, for differential privacy."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from privpipe.perturb.base import Array, BlockPerturbation, Images, cached, to_blocks
from privpipe.perturb.equations import Added, Equations
from privpipe.perturb.keys import KeyRecovery, chance_of_direction, of_directions
from privpipe.perturb.keystream import Bytes, Copies
from privpipe.perturb.knowledge import ANY_OUTPUT
from privpipe.perturb.linear import block_means
from privpipe.perturb.method import Drawing
from privpipe.perturb.settings import setting
from privpipe.perturb.shared_noise import TOGETHER, matched
from privpipe.perturb.values import Doubles, Floats

WHITE = 255.0
COLOURS = 3
NUMBER_BYTES = 8
FLOAT_BYTES = 8


@dataclass(frozen=True)
class DpPix(BlockPerturbation):
    """Every pixel of a cell of k×k becomes the cell's mean plus Laplace noise of scale 255·m/(k²·epsilon), each
    colour alone, clipped to 0..255 and rounded.

    Images of one colour that differ in at most m pixels, by any amounts, have cell means that differ by at most
    255·m/k² in sum, so that the noise makes the output epsilon-differentially private for them (L. Fan, "Image
    Pixelization with Differential Privacy", DBSec 2018). That is a promise about m pixels. Of a pixel in C colours it
    is C·epsilon/m; of a whole image, which is what re-identification feels, H·W·C·epsilon/m. Under `scope: dataset` all
    images have the same noise, and there is no promise.

    The noise is the quantile of a 63-bit number and a sign, in float64, and ends at 44 scales. Many values of it lie in
    every level up to 30 scales, so that a level comes as often as the law says; the rest is less than 1e-12.
    """

    epsilon: float = setting(0.5, "epsilon of m pixels of one colour", above=0, most=1e6)
    m: float = setting(16, "how many pixels may differ between images that epsilon is about", least=1, whole=True)

    name = "dp_pix"
    summary = "each block becomes its mean plus Laplace noise"
    keyed = True
    exact = True
    operator_without_key = True
    noise_is_key = True
    falls_up_to = 10**6  # shared noise is what all images have in common
    usual_sizes = (2, 4, 8)
    not_counted = ANY_OUTPUT
    colour = "#00838f"

    @property
    def scale(self) -> float:
        """Of the Laplace law, in grey levels: its density falls by e in so many."""
        return WHITE * self.m / (self.k * self.k * self.epsilon)

    @property
    def dataset_key(self) -> Floats:
        """The noise of all images of three colours, in grey levels, float32 (H/k, W/k, 3)."""
        return self.shared_key(COLOURS)

    def shared_key(self, channels: int) -> Floats:
        noise: Floats = self._noise(self.shared_bytes(self._size(channels)))[0].astype(np.float32)
        return noise

    def image_keys(self, images: Images, copies: Copies | None = None) -> Floats:
        """The noise of each image, in grey levels, float32 (N, H/k, W/k, C)."""
        noise = self._noise(self.own_streams(images, self._size(images.shape[3]), copies).draw(images))
        return noise.astype(np.float32)

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out, size, k = np.empty_like(images), self._size(images.shape[3]), self.k
        own = self.own_streams(images, size, copies) if self.scope == "image" else None
        shared = self._noise(self.shared_bytes(size)) if own is None else None
        for rows in cached(len(images), math.prod(images.shape[1:]) * max(1, FLOAT_BYTES / (k * k))):
            # One axis at a time: NumPy adds whole rows, several values in each instruction.
            tiles = images[rows].reshape(-1, self.image_size, self.image_size // k, k, images.shape[3])
            sums = tiles.sum(axis=3, dtype=np.uint32)
            sums = sums.reshape(len(sums), self.image_size // k, k, *sums.shape[2:]).sum(axis=2, dtype=np.uint32)
            cells = sums * (1 / (k * k)) + (shared if own is None else self._noise(own.draw(images[rows])))
            levels = np.rint(np.clip(cells, 0, WHITE)).astype(np.uint8)
            out[rows] = levels.repeat(k, axis=1).repeat(k, axis=2)
        return out

    def _size(self, channels: int) -> int:
        """Random bytes for an image."""
        return NUMBER_BYTES * self.n_blocks * channels

    def _noise(self, stream: Bytes) -> Doubles:
        """Laplace noise in grey levels, (n, H/k, W/k, C), from random bytes (n, 8·H/k·W/k·C)."""
        numbers, side = stream.view("<u8"), self.image_size // self.k
        values = np.log((numbers >> np.uint64(1)) + 0.5)
        values -= math.log(2.0**63)
        values *= self.scale
        np.negative(values, out=values, where=(numbers & np.uint64(1)).astype(bool))
        return np.asarray(values.reshape(len(stream), side, side, stream.shape[1] // (NUMBER_BYTES * side * side)))

    def operator(self, key: Array | None) -> csr_array:
        """One value for each cell, (cells, H*W)."""
        return block_means(self.image_size, self.k)

    def image_operator(self, key: Array | None) -> csr_array:
        """Every pixel of a cell has its mean, (H*W, H*W)."""
        means = self.operator(key)
        return (self.k * self.k) * (means.T @ means)

    def axis_operator(self) -> Floats | None:
        return np.kron(np.eye(self.image_size // self.k), np.full((self.k, self.k), 1 / self.k)).astype(np.float32)

    def observations(self, values: Floats) -> Floats:
        return np.asarray(to_blocks(values, self.k).mean(axis=2))

    def noise_covariance(self) -> Doubles | None:
        """That of the law, 2·scale² for each cell; clipping takes some of it away."""
        return 2 * self.scale**2 * np.eye(self.n_blocks)

    def image_noise_covariance(self) -> Doubles | None:
        """All pixels of a cell have its noise."""
        spread = (self.k * self.k) * self.operator(None).toarray().T
        return np.asarray(2 * self.scale**2 * (spread @ spread.T))

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.image_size // self.k, self.image_size // self.k, channels)

    def key_equations(self) -> Equations:
        return Added(math.sqrt(2) * self.scale)

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_directions(estimate, truth, 3)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return chance_of_direction(self.n_blocks * channels)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the sum of the distances of the cells; of a clipped value the law gives the same, to the end. Uploads of
        one key are told by `shared_noise`."""
        seen, asked = (to_blocks(images, self.k).mean(axis=2).reshape(len(images), -1) for images in (targets, gallery))
        if 0 < self.told_together <= len(targets):
            return matched(seen.astype(np.float32), asked, math.sqrt(2) * self.scale, (0, WHITE))
        return np.asarray(-cdist(seen, asked, "cityblock") / self.scale)

    @property
    def told_together(self) -> int:
        return TOGETHER if self.scope == "dataset" else 0

    def epsilons(self, channels: int) -> tuple[float, float] | None:
        pixel = channels * self.epsilon / self.m
        return pixel, pixel * self.image_size**2

    def drawing(self) -> Drawing:
        title = f"{self.name}, cells of {self.k}×{self.k}: the noise of one colour, scale {self.scale:.3g}"
        return Drawing(title, self.dataset_key[..., 0])
