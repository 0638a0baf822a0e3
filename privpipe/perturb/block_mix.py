"""Secret linear mixing of the pixels within each k×k block."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, BlockPerturbation, Images, from_blocks, to_blocks, to_unit_float16
from privpipe.perturb.keystream import KeyStream

WHITE = 255.0
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
        n = self.k * self.k
        drawn = [self._draw(self.image_material(split, start + i)) for i in range(count)]
        return np.array(drawn).reshape(count, self.n_blocks, n, n)

    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        out = np.empty(images.shape, np.float16)
        for rows in self._chunks(images):
            vectors = self._vectors(images[rows])
            mixed = self._keys(split, start, rows) @ vectors
            out[rows] = to_unit_float16(self._images(mixed / WHITE, images.shape[-1]), self.name)
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
        weights = self.n_blocks * n * n
        if weights > MAX_WEIGHTS:
            raise PrivpipeError(
                f"{self.name} may have {MAX_WEIGHTS:,} weights per image; got {weights:,} with k = {self.k} and "
                f"{self.image_size} pixels. Use a smaller perturb.k."
            )
        return np.rint(stream.normal(self.n_blocks, n, n) * (STEPS / self.k)) / STEPS

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
