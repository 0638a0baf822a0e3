"""Secret linear mixing of the pixels within each k×k block."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
from privpipe.perturb.keystream import KeyStream, normal

WHITE = 255.0
DOUBLE_BYTES = 8
# Weights are multiples of 2^-32. So a product with a whole level, and every partial sum of such products up to
# k = 1305, is exact in float64, and a result cannot depend on the order in which a library adds.
STEPS = 2.0**32
CHUNK_VALUES = 4 << 20  # float64 values of images, or of fresh matrices, at a time: 32 MB
MAX_WEIGHTS = 1 << 27  # of all blocks of an image: 1 GB


class BlockMix(BlockPerturbation):
    """Block b, as a vector of its k*k pixels / 255, becomes `matrices[b] @ vector`, each colour alone.

    The weights are independent N(0, 1/k²), so that the mean square of the pixels stays on average; every block has its
    own matrix, the same one for its colours; the same ones for all images under `scope: dataset`, fresh ones for each
    image under `scope: image`. Products and sums are exact; the only rounding is the last one, to float16.

    The inverse with the key is as good as the draw: it amplifies what float16 rounded away, relatively up to 2^-11, by
    the condition number of the matrix, which is a few times k² for a typical block and thousands for an unlucky one.
    """

    name = "block_mix"
    keyed = True
    invertible = True

    @cached_property
    def matrices(self) -> NDArray[np.float64]:
        """The matrices of all images (`scope: dataset`), float64 (blocks, k*k, k*k)."""
        return self._draw(self.material())

    @property
    def dataset_key(self) -> NDArray[np.float64]:
        """`matrices`."""
        return self.matrices

    def image_keys(self, split: str, start: int, count: int) -> NDArray[np.float64]:
        """The matrices of images `start` .. `start + count - 1`, float64 (count, blocks, k*k, k*k)."""
        n, weights = self.k * self.k, self._count_weights()
        keys = np.empty((count, weights))
        for rows in cached(count, DOUBLE_BYTES * weights):
            drawn = self.image_material(split).numbered(start + rows.start, rows.stop - rows.start, 4 * weights)
            keys[rows] = self._rounded(normal(drawn))
        return keys.reshape(count, self.n_blocks, n, n)

    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        out = np.empty(images.shape, np.float16)
        if self.scope == "image":
            for rows in self._chunks(images):
                mixed = self._keys(split, start, rows) @ self._vectors(images[rows])
                out[rows] = to_unit_float16(self._images(mixed / WHITE, images.shape[-1]), self.name)
            return out
        # A matrix is read anew for every picture, so a large one wants large pictures.
        for rows, picture in side_by_side(images, DOUBLE_BYTES * min(1.0, 64 / self.k**2)):
            vectors = to_blocks(picture[None], self.k)[0].astype(np.float64)
            mixed = self.matrices @ vectors
            mixed /= WHITE
            perturbed = to_unit_float16(mixed.astype(np.float32), self.name)
            out[rows] = one_by_one(from_blocks(perturbed[None], self.image_size, self.k)[0], images.shape[-1])
        return out

    def invert(self, perturbed: Array, split: str = "train", start: int = 0) -> Array:
        """The images as float32 in 0..255, (N, H, W, C), not rounded; see the class for its accuracy."""
        out = np.empty(perturbed.shape, np.float32)
        for rows in self._chunks(perturbed):
            keys, vectors = self._keys(split, start, rows), self._vectors(perturbed[rows])
            out[rows] = self._images(WHITE * np.asarray(np.linalg.solve(keys, vectors)), perturbed.shape[-1])
        return out

    def _draw(self, stream: KeyStream) -> NDArray[np.float64]:
        n = self.k * self.k
        return self._rounded(stream.normal(self._count_weights())).reshape(self.n_blocks, n, n)

    def _count_weights(self) -> int:
        """How many weights an image has, checked."""
        weights = self.n_blocks * self.k**4
        if weights > MAX_WEIGHTS:
            raise PrivpipeError(
                f"{self.name} may have {MAX_WEIGHTS:,} weights per image; got {weights:,} with k = {self.k} and "
                f"{self.image_size} pixels. Use a smaller perturb.k."
            )
        return weights

    def _rounded(self, normals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights from N(0, 1) values."""
        return np.rint(normals * (STEPS / self.k)) / STEPS

    def _keys(self, split: str, start: int, rows: slice) -> NDArray[np.float64]:
        """What multiplies `_vectors` of the images `rows`."""
        if self.scope == "dataset":
            return self.matrices
        return self.image_keys(split, start + rows.start, rows.stop - rows.start)

    def _chunks(self, images: Array) -> list[slice]:
        """Rows to handle at a time."""
        per_image = images[:1].size or 1
        if self.scope == "image":
            per_image = max(per_image, self.n_blocks * self.k**4)
        step = max(1, CHUNK_VALUES // per_image)
        return [slice(first, min(first + step, len(images))) for first in range(0, len(images), step)]

    def _vectors(self, images: Array) -> NDArray[np.float64]:
        """Images (N, H, W, C) as columns: (blocks, k*k, N * C), or (N, blocks, k*k, C) under `scope: image`."""
        blocks = to_blocks(images, self.k)
        if self.scope == "dataset":  # one product per block for all images
            blocks = blocks.transpose(1, 2, 0, 3).reshape(self.n_blocks, self.k * self.k, -1)
        return blocks.astype(np.float64, order="C")

    def _images(self, vectors: NDArray[np.float64], channels: int) -> NDArray[np.float32]:
        """The inverse of `_vectors`, as float32."""
        if self.scope == "dataset":
            vectors = vectors.reshape(self.n_blocks, self.k * self.k, -1, channels).transpose(2, 0, 1, 3)
        return from_blocks(vectors, self.image_size, self.k).astype(np.float32)
