"""Secret linear mixing of the pixels within each k×k block."""

import math
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from privpipe.errors import PrivpipeError
from privpipe.perturb.base import (
    Array,
    BlockPerturbation,
    Images,
    cached,
    from_blocks,
    one_by_one,
    side_by_side,
    to_blocks,
    to_unit_float16,
)
from privpipe.perturb.equations import Equations, Linear
from privpipe.perturb.keys import KeyRecovery, chance_of_direction, of_directions
from privpipe.perturb.keystream import Bytes, Copies, OwnStreams, looked_up, rounded_quantiles
from privpipe.perturb.knowledge import CONTINUUM
from privpipe.perturb.linear import block_diagonal, block_places
from privpipe.perturb.method import Drawing
from privpipe.perturb.values import ROUNDING_NEAR_WHITE, Doubles

if TYPE_CHECKING:
    from torch import Tensor

WHITE = 255.0
STEP = np.float32(1 / 255)  # of a grey level, where white is 1
FLOAT_BYTES = 4
NUMBER_BYTES = 2
FLOAT_WHOLE = 2**24  # whole numbers up to this are exact in float32
LARGEST = 4.33  # standard deviations that a weight may be off 0
MAX_WEIGHTS = 1 << 27  # of all blocks of an image: 1 GB
Weights = NDArray[np.float32]


class BlockMix(BlockPerturbation):
    """Block b, as a vector of its k*k pixels / 255, becomes `matrices[b] @ vector`, each colour alone.

    The weights are independent N(0, 1/k²), so that the mean square of the pixels stays on average; every block has its
    own matrix, the same one for its colours; the same ones for all images under `scope: dataset`, fresh ones for each
    image under `scope: image`. A weight is one of 65,536 equally likely quantiles, rounded so coarsely that products
    with whole grey levels, and their sums over a block, are exact in float32 in whatever order a library adds: 512
    steps to a standard deviation for k = 4, 128 for k = 8, 8 for k = 32. Only the last two operations round: the
    product with 1/255 and float16.

    It offers no inverse: that would amplify what float16 rounded away, relatively up to 2^-11, by the condition number
    of the matrix, a few times k² for a typical block and thousands for an unlucky one. The linear estimate of least
    mean square error (`privpipe.attacks.restoration.restore` with the key) does not.
    """

    name = "block_mix"
    summary = "the pixels of each block are mixed by a secret random matrix"
    keyed = True
    falls_up_to = 4
    usual_sizes = (2, 4, 8)
    not_counted = CONTINUUM
    colour = "#b83280"

    @cached_property
    def matrices(self) -> Weights:
        """The matrices of all images (`scope: dataset`), float32 (blocks, k*k, k*k)."""
        matrices: Weights = self._weights(self.shared_bytes(NUMBER_BYTES * self._count_weights()))[0]
        return matrices

    @property
    def dataset_key(self) -> Weights:
        """`matrices`."""
        return self.matrices

    def image_keys(self, images: Images, copies: Copies | None = None) -> Weights:
        """The matrices of each image, float32 (N, blocks, k*k, k*k)."""
        keys = np.empty((len(images), self.n_blocks, self.k * self.k, self.k * self.k), np.float32)
        own = self._own_streams(images, copies)
        for rows in self._own_rows(len(images)):
            keys[rows] = self._weights(own.draw(images[rows]))
        return keys

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty(images.shape, np.float16)
        if self.scope == "image":
            own = self._own_streams(images, copies)
            for rows in self._own_rows(len(images)):
                blocks = to_blocks(images[rows], self.k).astype(np.float32)
                perturbed = self._mixed(self._weights(own.draw(images[rows])), blocks)
                out[rows] = from_blocks(perturbed, self.image_size, self.k)
            return out
        # A matrix is read anew for every image, so a large one wants large images.
        for rows, image in side_by_side(images, FLOAT_BYTES * min(1.0, 64 / self.k**2)):
            perturbed = self._mixed(self.matrices, to_blocks(image[None], self.k)[0].astype(np.float32))
            out[rows] = one_by_one(from_blocks(perturbed[None], self.image_size, self.k)[0], images.shape[-1])
        return out

    def _mixed(self, weights: Weights, blocks: NDArray[np.float32]) -> NDArray[np.float16]:
        """`weights` times blocks of grey levels (..., k*k, n), as stored."""
        mixed = weights @ blocks
        mixed *= STEP
        return to_unit_float16(mixed, self.name, 1.001 * LARGEST * self.k)  # a little for rounding

    def _own_streams(self, images: Images, copies: Copies | None) -> OwnStreams:
        return self.own_streams(images, NUMBER_BYTES * self._count_weights(), copies)

    def _own_rows(self, count: int) -> Iterator[slice]:
        """Rows to handle at a time under `scope: image`."""
        return cached(count, FLOAT_BYTES * self._count_weights())

    def _weights(self, stream: Bytes) -> Weights:
        """Matrices (n, blocks, k*k, k*k) from random bytes (n, 2 * weights of an image)."""
        # No sum of k*k products of a grey level and a weight reaches 2^24 steps.
        step = 2.0 ** math.ceil(math.log2(WHITE * LARGEST * self.k / FLOAT_WHOLE))
        weights = looked_up(stream, rounded_quantiles(1 / self.k, step))
        return weights.reshape(len(stream), self.n_blocks, self.k**2, self.k**2)

    def _count_weights(self) -> int:
        """How many weights an image has, checked."""
        weights = self.n_blocks * self.k**4
        if weights > MAX_WEIGHTS:
            raise PrivpipeError(
                f"{self.name} may have {MAX_WEIGHTS:,} weights per image; got {weights:,} with k = {self.k} and "
                f"{self.image_size} pixels. Use a smaller perturb.k."
            )
        return weights

    def operator(self, key: Array | None) -> csr_array:
        return block_diagonal(np.asarray(key, np.float64), self.image_size, self.k)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.n_blocks, self.k * self.k, self.k * self.k)

    def key_equations(self) -> Equations:
        """In each block, every pixel of the result is a row of the matrix times the block; an equation per colour."""
        n = self.k * self.k

        def pixels(images: Doubles) -> Doubles:
            blocks = to_blocks(images, self.k).transpose(1, 0, 3, 2)
            return np.ascontiguousarray(blocks.reshape(len(blocks), -1, n), dtype=np.float64)

        return Linear(
            x=pixels,
            y=pixels,
            key=lambda weights: np.asarray(weights.swapaxes(1, 2), np.float32),
            systems=self.n_blocks,
            n=n,
            variance=1 / n,
            overdetermined=False,
        )

    def key_error_noise(self, errors: Doubles, mean: Doubles, covariance: Doubles) -> Doubles | None:
        """x · (error of a row of W) has this variance; x has the second moments of images."""
        places = block_places(self.image_size, self.k)
        means = mean[places]
        power = means @ means.swapaxes(1, 2)
        power += covariance[places[:, :, None], places[:, None, :]]
        noise = np.empty(self.image_size**2)
        noise[places] = (errors * power).sum(axis=(1, 2))[:, None] / mean.shape[1]
        return np.diag(noise)

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_directions(estimate, truth, 2)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return chance_of_direction(self.k**4)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """The n = k² rows of a mixed block Y (n, C) are independent N(0, XᵀX / n), X being the block."""
        n = self.k * self.k
        covariances = {
            (i, j): product / (n * WHITE**2) + (ROUNDING_NEAR_WHITE if i == j else 0.0)
            for (i, j), product in _products(gallery, self.k).items()
        }
        inverses, volumes = _inverses(covariances)
        # Of a symmetric matrix the half is kept, which stands for the other.
        asked = [entries / (-2 if i == j else -1) for (i, j), entries in inverses.items()]
        observed = np.concatenate([*_products(targets, self.k).values()], axis=1)
        out = observed @ np.concatenate(asked, axis=1).T
        out -= n / 2 * volumes.sum(axis=1)
        return np.asarray(out)

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """The guess is the root mean square of each block, which on average no matrix changes."""
        from privpipe.perturb.network_inputs import block_mean, units

        return units(block_mean(images.square(), self.k).clamp(min=1e-6).sqrt()), units(images)

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """Second moments of the colours in each block."""
        from torch import einsum

        from privpipe.perturb.network_inputs import MIDDLE, SCALE, blocks_of

        values = blocks_of(image, self.k) + MIDDLE / SCALE  # black is 0 again: the mixing is linear
        batch, channels, n, rows, columns = values.shape
        second = einsum("bcnyx,bdnyx->bcdyx", values, values) / n
        return (second.sign() * second.abs().clamp(min=1e-6).sqrt()).reshape(batch, channels**2, rows, columns)

    def drawing(self) -> Drawing:
        return Drawing(f"one block of {self.k}×{self.k}: weights of its pixels in each output", self.matrices[0])


def _products(images: Array, k: int) -> dict[tuple[int, int], Doubles]:
    """XᵀX of every block X (k*k, C): the entries (i, j) with j <= i, each float64 (n, blocks)."""
    exact = images.dtype == np.uint8 and k * k * int(WHITE) ** 2 <= FLOAT_WHOLE
    colours = np.ascontiguousarray(np.moveaxis(to_blocks(images, k), 3, 0), np.float32 if exact else np.float64)
    return {
        (i, j): np.einsum("nbp,nbp->nb", colours[i], colours[j]).astype(np.float64)
        for i in range(len(colours))
        for j in range(i + 1)
    }


def _inverses(matrices: dict[tuple[int, int], Doubles]) -> tuple[dict[tuple[int, int], Doubles], Doubles]:
    """The inverses of many symmetric positive definite matrices, and the logarithms of their determinants.

    By Cholesky's factors L, for all matrices at once: LAPACK takes a call for each.

    Args:
        matrices: the entries (i, j) with j <= i, each of one shape.

    Returns:
        The entries of the inverses likewise, and an array of that shape.
    """
    size = 1 + max(i for i, _ in matrices)
    factors: dict[tuple[int, int], Doubles] = {}
    roots: dict[tuple[int, int], Doubles] = {}  # entries of the inverse of L
    for i in range(size):
        for j in range(i + 1):
            left = matrices[i, j] - sum(factors[i, m] * factors[j, m] for m in range(j))
            factors[i, j] = np.sqrt(left) if i == j else left / factors[j, j]
        roots[i, i] = 1 / factors[i, i]
        for j in range(i):
            roots[i, j] = -roots[i, i] * sum(factors[i, m] * roots[m, j] for m in range(j, i))
    inverses = {
        (i, j): np.asarray(sum(roots[m, i] * roots[m, j] for m in range(i, size)), np.float64) for i, j in matrices
    }
    volumes = -2 * sum(np.log(roots[i, i]) for i in range(size))
    return inverses, np.asarray(volumes, np.float64)
