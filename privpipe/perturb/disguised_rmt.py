"""DisguisedNets' RMT: blocks change places, and the rows of each are turned by a secret orthogonal matrix."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

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
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.keys import KeyRecovery, chance_of_direction, of_directions
from privpipe.perturb.keystream import Bytes, Copies, OwnStreams, half_quantiles, looked_up, order
from privpipe.perturb.knowledge import CONTINUUM
from privpipe.perturb.method import Drawing
from privpipe.perturb.settings import setting
from privpipe.perturb.values import Doubles, Floats, pixel_values

if TYPE_CHECKING:
    from torch import Tensor

WHITE = 255.0
LEVEL = np.float32(1 / 255)  # where white is 1
ORDER_BYTES, NUMBER_BYTES, NOISE_BYTES = 8, 2, 2
FLOAT_BYTES, DOUBLE_BYTES = 4, 8
SIMULATED = 4  # draws of noise that stand for all, where it is not known
APART = 2.0**-20  # vectors that came out the same differ by so much
FLOAT_WHOLE = 2**24  # whole numbers up to this are exact in float32
# A sum of fewer numbers comes out the same however they lie in memory: NumPy adds them one after the other. A product
# of matrices of fewer rows takes less time than the call of BLAS for it.
FEW = 8


@dataclass(frozen=True)
class DisguisedRmt(BlockPerturbation):
    """Block b, as a matrix of k×k grey levels of each colour, becomes (block p[b] + noise) · R[b], never clipped.

    p is a permutation of the blocks and R[b] an orthogonal matrix of k×k, one for each place and the same for its
    colours: random multidimensional projection after block permutation (S. Sharma and K. Chen, "Disguised-Nets: Image
    Disguising for Privacy-preserving Outsourced Deep Learning", 2019, arXiv 1902.01878; S. Sharma, Y. Gu and K. Chen,
    "A Comparative Study of Image Disguising Methods for Confidential Outsourced Learning", 2022, arXiv 2301.00252). The
    noise is uniform among the whole levels 0..`noise`, drawn for every value of every image, whatever the scope.

    The matrices are those of Gram and Schmidt on normal numbers, so uniform among all orthogonal ones, rounded to
    multiples of 2^-12 (k = 8; twice as fine for half of k), so that sums of products with whole levels are exact in
    float32; they are orthogonal up to about as much. With the key the inverse of each matrix undoes it, up to what
    float16 rounded and to the noise, of which the mean is taken away.
    """

    noise: float = setting(0, "greatest noise, in levels of 0..255", least=0, most=255, whole=True)

    name = "disguised_rmt"
    summary = "blocks change places, and the rows of each are turned by a secret orthogonal matrix"
    keyed = True
    undone_by_key = True
    pairs_attack = "row_products"
    usual_sizes = (2, 4, 8)
    not_counted = CONTINUUM
    colour = "#97266d"

    @property
    def dataset_key(self) -> Floats:
        """p and R of all images (`scope: dataset`), float32 (blocks, 1 + k·k): p[b], then R[b] row by row."""
        key: Floats = self._keys(self.shared_bytes(self._key_size))[0]
        return key

    def image_keys(self, images: Images, copies: Copies | None = None) -> Floats:
        """The same of each image (`scope: image`), (N, blocks, 1 + k·k)."""
        own = self._own(images, copies)
        parts = [self._keys(own.draw(images[rows])[:, : self._key_size]) for rows in self._rows(images)]
        return np.concatenate(parts) if parts else np.empty((0, self.n_blocks, 1 + self.k**2), np.float32)

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty(images.shape, np.float16)
        if self.scope == "dataset":
            noisy = self._noisy(images, copies) if self.noise else images
            for rows, image in side_by_side(noisy, FLOAT_BYTES):
                blocks = to_blocks(image[None], self.k)[0][self._places]
                turned = self._transposed @ blocks.reshape(self.n_blocks, self.k, self.k, -1).astype(np.float32)
                stored = self._stored(turned).reshape(blocks.shape)
                out[rows] = one_by_one(from_blocks(stored[None], self.image_size, self.k)[0], images.shape[3])
            return out
        own = self._own(images, copies)
        for rows in self._rows(images):
            stream = own.draw(images[rows])
            permutations, matrices = self._drawn(stream[:, : self._key_size])
            blocks = to_blocks(images[rows], self.k)
            if self.noise:
                blocks = blocks + to_blocks(
                    self._noise(stream[:, self._key_size :]).reshape(images[rows].shape), self.k
                )
            # Blocks as rows of all images, which are found faster than along an axis.
            sources = permutations + self.n_blocks * np.arange(len(stream))[:, None]
            moved = blocks.reshape(sources.size, -1).take(sources.ravel(), axis=0)
            stored = self._turned(moved, matrices).reshape(blocks.shape)
            out[rows] = from_blocks(stored, self.image_size, self.k)
        return out

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        keys = np.asarray(self.given(keys, "matrices"), np.float64)
        keys = keys[None] if keys.ndim == 2 else keys
        out = np.empty(perturbed.shape, np.float32)
        for rows in cached(len(perturbed), DOUBLE_BYTES * math.prod(perturbed.shape[1:])):
            own = keys if len(keys) == 1 else keys[rows]
            blocks = to_blocks(pixel_values(perturbed[rows]), self.k).astype(np.float64)
            turned = self._times(blocks, np.linalg.inv(self._matrices(own))) - self.noise / 2
            back = np.argsort(own[..., 0], axis=1)[:, :, None, None]
            out[rows] = from_blocks(np.take_along_axis(turned, back, axis=1), self.image_size, self.k)
        return out

    def skip(self, images: Images, copies: Copies) -> None:
        if self.scope == "image" or self.noise:
            self._own(images, copies).skip(images)

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        """p of all images."""
        return self.dataset_key[:, 0].astype(np.intp)

    @cached_property
    def _transposed(self) -> Floats:
        """The transposes of R of all images, (blocks, 1, k, k)."""
        return np.ascontiguousarray(self._matrices(self.dataset_key[None])[0].swapaxes(1, 2)[:, None])

    @property
    def _key_size(self) -> int:
        """Random bytes for p and R."""
        return self.n_blocks * (ORDER_BYTES + NUMBER_BYTES * self.k**2)

    def _own(self, images: Images, copies: Copies | None) -> OwnStreams:
        """The streams of images: p and R under `scope: image`, then the noise if there is any."""
        noise = NOISE_BYTES * math.prod(images.shape[1:]) if self.noise else 0
        return self.own_streams(images, (self._key_size if self.scope == "image" else 0) + noise, copies)

    def _rows(self, images: Images) -> Iterator[slice]:
        return cached(len(images), FLOAT_BYTES * math.prod(images.shape[1:]))

    def _keys(self, stream: Bytes) -> Floats:
        """p and R, (n, blocks, 1 + k·k), from random bytes (n, `_key_size`)."""
        permutations, matrices = self._drawn(stream)
        rows = matrices.transpose(2, 0, 1).reshape(len(stream), self.n_blocks, -1)
        return np.concatenate([permutations[:, :, None], rows], axis=2, dtype=np.float32)

    def _drawn(self, stream: Bytes) -> tuple[NDArray[np.int32], Floats]:
        """p (n, blocks) and R (k, k, n * blocks) from random bytes (n, `_key_size`)."""
        places = ORDER_BYTES * self.n_blocks
        permutations = order(np.ascontiguousarray(stream[:, :places]))
        numbers = looked_up(np.ascontiguousarray(stream[:, places:]), half_quantiles(1.0)).reshape(-1, self.k**2)
        # The numbers of one place in all matrices side by side, if that leaves the sums of `orthogonal` as they are.
        aside = cv2.transpose(numbers) if self.k < FEW else numbers.T
        vectors = aside.astype(np.float64).reshape(self.k, self.k, -1)
        diagonal = np.arange(self.k)
        vectors[diagonal, diagonal] += APART
        step = 2.0 ** math.ceil(math.log2(2 * WHITE * self.k / FLOAT_WHOLE))
        steps = orthogonal(vectors)
        steps *= 1 / step
        return permutations, np.rint(steps, out=steps).astype(np.float32) * np.float32(step)

    def _matrices(self, keys: Array) -> Array:
        """R of keys (n, blocks, 1 + k·k), (n, blocks, k, k)."""
        return np.asarray(keys[..., 1:].reshape(*keys.shape[:2], self.k, self.k))

    def _noise(self, stream: Bytes) -> NDArray[np.uint16]:
        """Whole levels 0..`noise` from random bytes (n, 2·values): the upper part of a product of 16 bits."""
        numbers = np.ascontiguousarray(stream).view("<u2").astype(np.uint32)
        return (numbers * np.uint32(self.noise + 1) >> 16).astype(np.uint16)

    def _noisy(self, images: Images, copies: Copies | None) -> Array:
        """Images and their noise, uint16."""
        noisy, own = np.empty(images.shape, np.uint16), self._own(images, copies)
        for rows in self._rows(images):
            noisy[rows] = images[rows] + self._noise(own.draw(images[rows])).reshape(images[rows].shape)
        return noisy

    def _stored(self, turned: Floats) -> Array:
        """Grey levels as they are stored."""
        turned *= LEVEL
        return to_unit_float16(turned, self.name, 1.001 * math.sqrt(self.k) * (1 + self.noise / WHITE))

    def _turned(self, blocks: Array, matrices: Floats) -> Array:
        """Blocks of whole levels (m, k·k·C), the rows of each times its matrix (k, k, m), as they are stored.

        Sums are exact, so whatever adds them gives the same.
        """
        if self.k < FEW:  # the values of one place in all blocks side by side
            values = cv2.transpose(blocks).astype(np.float32)
            turned = np.einsum("rjcm,jim->ricm", values.reshape(self.k, self.k, -1, len(blocks)), matrices)
            return cv2.transpose(self._stored(turned).reshape(values.shape))
        rows = blocks.reshape(1, len(blocks), self.k**2, -1).astype(np.float32)
        return self._stored(np.ascontiguousarray(self._times(rows, matrices.transpose(2, 0, 1)[None])))

    def _times(self, blocks: Array, matrices: Array) -> Array:
        """Each block (n, blocks, k*k, C), its rows times a matrix (1 or n, blocks, k, k)."""
        count, n_blocks, _, channels = blocks.shape
        rows = blocks.reshape(count, n_blocks, self.k, self.k, channels).swapaxes(3, 4)
        turned = rows.reshape(count, n_blocks, -1, self.k) @ matrices
        return turned.reshape(count, n_blocks, self.k, channels, self.k).swapaxes(3, 4).reshape(blocks.shape)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.n_blocks, 1 + self.k * self.k)

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        """|cosine| of the matrices, 0 where the block that is taken is another one; mean over the places."""
        estimate, truth = (np.broadcast_arrays(estimate, truth)[i].reshape(-1, 1 + self.k**2) for i in (0, 1))
        right = estimate[:, 0] == truth[:, 0]
        if not right.any():
            return KeyRecovery(0.0, None)
        likeness = of_directions(estimate[right, 1:], truth[right, 1:], 1).pixels
        return KeyRecovery(float(right.mean()) * likeness, None)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return KeyRecovery(chance_of_direction(self.k**2).pixels / self.n_blocks, None)

    def row_products(self, images: Array) -> Doubles:
        """What no matrix changes of the blocks (n, blocks, ·): the products of any two of their rows, in all colours.

        Args:
            images: grey levels, (n, H, W, C).
        """
        blocks = to_blocks(images, self.k).astype(np.float64)
        rows = blocks.reshape(*blocks.shape[:2], self.k, self.k, -1).swapaxes(3, 4)
        rows = rows.reshape(*rows.shape[:2], -1, self.k)
        products = rows @ rows.swapaxes(2, 3)
        above = np.triu_indices(rows.shape[2])
        return np.asarray(products[:, :, above[0], above[1]])

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By `row_products`, each sorted over the blocks, since these change places; of a candidate what they are on
        average with noise of one's own."""

        def sorted_products(images: Array) -> Doubles:
            return np.sort(self.row_products(images) / WHITE**2, axis=1)

        if not self.noise:
            return -squared_distances(sorted_products(pixel_values(targets)), sorted_products(gallery))
        draws, most = np.random.default_rng(0), int(self.noise) + 1
        noisy = (sorted_products(gallery + draws.integers(0, most, gallery.shape)) for _ in range(SIMULATED))
        return -squared_distances(sorted_products(pixel_values(targets)), np.asarray(sum(noisy)) / SIMULATED)

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """The guess is the root mean square of each block, at the place to which it went."""
        from privpipe.perturb.network_inputs import block_mean, units

        return units(block_mean(images.square(), self.k).clamp(min=1e-6).sqrt()), units(images)

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """The length of each row of a block, for each colour."""
        from privpipe.perturb.network_inputs import MIDDLE, SCALE, blocks_of

        values = blocks_of(image, self.k) + MIDDLE / SCALE  # black is 0 again: the matrices are linear
        batch, channels, _, rows, columns = values.shape
        squares = values.square().reshape(batch, channels, self.k, self.k, rows, columns).mean(dim=3)
        return squares.clamp(min=1e-6).sqrt().reshape(batch, channels * self.k, rows, columns)

    def weakness(self) -> str | None:
        if self.k > 1:
            return None
        return "A matrix of one number is 1 or -1: these are the pixels, at other places, some of them negative."

    def drawing(self) -> Drawing:
        title = f"one block of {self.k}×{self.k}: the matrix that its rows are multiplied by"
        return Drawing(title, self._matrices(self.dataset_key[None])[0, 0])


def orthogonal(vectors: Doubles) -> Doubles:
    """k vectors of n systems, (k, k, n), made orthogonal and of length 1 in turn (Gram and Schmidt), in place."""
    for i, vector in enumerate(vectors):
        vector /= np.sqrt((vector * vector).sum(axis=0))
        later = vectors[i + 1 :]
        later -= (later * vector).sum(axis=1, keepdims=True) * vector
    return vectors
