"""Additive Gaussian noise, independent per pixel or smoothed.

The random values are those of `privpipe.perturb.keystream.KeyStream.fields`: close to N(0, 1), and those of an image
the same whatever images are perturbed with it. All arithmetic is single float32 multiplications, additions and
divisions in a fixed order, so the noise is the same on every machine.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.base import Array, Images, Perturbation, cached, odd_sizes, to_unit_float16
from privpipe.perturb.gaussian_blur import blur_sigma

WHITE = np.float32(255)
COLOURS = 3
FLOAT_BYTES = 4
Floats = NDArray[np.float32]


class GaussianNoise(Perturbation):
    """(image + sigma · N(0, 1)) / 255, independent for every pixel and colour, never clipped.

    Under `scope: dataset` one noise field is added to all images (it subtracts out for whoever holds two);
    under `scope: image` every image has its own. With the key the inverse subtracts it.
    """

    name = "gaussian_noise"
    keyed = True
    invertible = True
    noisy = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    @property
    def dataset_key(self) -> Floats:
        """The noise of all images of three colours (`scope: dataset`), float32 (H, W, 3), in levels of 0..255."""
        return self._shared(COLOURS)

    def image_keys(self, split: str, start: int, count: int) -> Floats:
        """The noise of images `start` .. `start + count - 1` of three colours, float32 (count, H, W, 3), in levels."""
        keys = np.empty((count, self.image_size, self.image_size, COLOURS), np.float32)
        for rows in self._rows(keys):
            keys[rows] = self._own(split, start, rows, COLOURS)
        return keys

    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        out = np.empty(images.shape, np.float16)
        channels = images.shape[-1]
        shared = self._shared(channels) if self.scope == "dataset" else None
        for rows in self._rows(images):
            noisy = images[rows] + (self._own(split, start, rows, channels) if shared is None else shared)
            noisy /= WHITE
            out[rows] = to_unit_float16(noisy, self.name)
        return out

    def invert(self, perturbed: Array, split: str = "train", start: int = 0) -> Array:
        """The images as float32 in 0..255, (N, H, W, C), not rounded."""
        images = perturbed.astype(np.float32)
        channels = images.shape[-1]
        shared = self._shared(channels) if self.scope == "dataset" else None
        images *= WHITE
        for rows in self._rows(images):
            images[rows] -= self._own(split, start, rows, channels) if shared is None else shared
        return images

    def _rows(self, images: Array) -> Iterator[slice]:
        """Rows to handle at a time."""
        return cached(len(images), FLOAT_BYTES * math.prod(images.shape[1:]))

    def _shared(self, channels: int) -> Floats:
        """The field of `scope: dataset`, in levels, (H, W, C)."""
        size = self.image_size * self.image_size * channels
        field: Floats = self._levels(self.material().fields(0, 1, size), channels)[0]
        return field

    def _own(self, split: str, start: int, rows: slice, channels: int) -> Floats:
        """The fields of images `start + rows`, in levels, (n, H, W, C)."""
        size = self.image_size * self.image_size * channels
        white = self.image_material(split).fields(start + rows.start, rows.stop - rows.start, size)
        return self._levels(white, channels)

    def _levels(self, white: Floats, channels: int) -> Floats:
        """Independent N(0, 1) values (n, H * W * C) made into noise in levels of 0..255, (n, H, W, C)."""
        white *= np.float32(self.sigma)
        return white.reshape(-1, self.image_size, self.image_size, channels)


class CorrelatedNoise(GaussianNoise):
    """Gaussian noise smoothed by the blur kernel of size k, then rescaled to the same sigma.

    The rescaling divides by the root of the sum of the squared kernel weights: away from the borders,
    every pixel of the smoothed field has standard deviation sigma again. Borders are reflected without repeating the
    edge pixel.
    """

    name = "correlated_noise"

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return odd_sizes(image_size)

    def _levels(self, white: Floats, channels: int) -> Floats:
        row = cv2.getGaussianKernel(self.k, blur_sigma(self.k), cv2.CV_64F).ravel()
        weights = (row / math.sqrt(math.fsum(row * row))).astype(np.float32)  # those of an axis
        # All values of one place together, (H, W, C * n), so that NumPy adds long rows.
        fields: Floats = np.asarray(cv2.transpose(white), np.float32).reshape(self.image_size, self.image_size, -1)
        for axis in (0, 1):
            fields = correlate(fields, weights, axis)
        smooth = cv2.transpose(fields.reshape(-1, len(white)))
        return super()._levels(np.asarray(smooth, np.float32), channels)


def correlate(values: Floats, weights: Floats, axis: int) -> Floats:
    """Sum `values` shifted along `axis`, times symmetric `weights` (odd in number), with reflected borders.

    The centre comes first, then outwards (one neighbour + the other) times their weight. OpenCV's filters fuse and
    order these operations as suits the processor.
    """
    radius, size = len(weights) // 2, values.shape[axis]
    places = np.pad(np.arange(size), radius, mode="reflect")
    padded = np.take(values, places, axis=axis)
    shifted = [padded[s : s + size] if axis == 0 else padded[:, s : s + size] for s in range(len(weights))]
    total: Floats = values * weights[radius]
    pair = np.empty_like(values)
    for distance in range(1, radius + 1):
        np.add(shifted[radius - distance], shifted[radius + distance], out=pair)
        pair *= weights[radius + distance]
        total += pair
    return total
