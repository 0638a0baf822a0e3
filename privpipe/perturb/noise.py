"""Additive Gaussian noise, independent per pixel or smoothed.

The random values are those of `privpipe.perturb.keystream.noise`: close to N(0, 1). All arithmetic is single float32
multiplications and additions in a fixed order, so the noise is the same on every machine.
"""

import math
from collections.abc import Iterator
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images, Perturbation, cached, odd_sizes, to_unit_float16
from privpipe.perturb.gaussian_blur import blur_sigma
from privpipe.perturb.keystream import NOISE_END, Bytes, Copies, OwnStreams, noise

WHITE = np.float32(255)
LEVEL = np.float32(1 / 255)
COLOURS = 3
FLOAT_BYTES = 4
Floats = NDArray[np.float32]


class GaussianNoise(Perturbation):
    """image · (1/255) + sigma/255 · N(0, 1), independent for every pixel and colour, never clipped.

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
        return np.asarray(self._shared(COLOURS) * WHITE)

    def image_keys(self, images: Images, copies: Copies | None = None) -> Floats:
        """The noise of each image, float32 (N, H, W, C), in levels."""
        keys, own = np.empty(images.shape, np.float32), self._own_streams(images, copies)
        for rows in self._rows(keys):
            keys[rows] = self._fields(own.draw(images[rows]), images.shape[-1]) * WHITE
        return keys

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty(images.shape, np.float16)
        channels = images.shape[-1]
        own = self._own_streams(images, copies) if self.scope == "image" else None
        field = self._shared(channels) if own is None else np.empty(0, np.float32)
        most = 1 + self.sigma / 255 * NOISE_END * self._gain
        for rows in self._rows(images):
            noisy = images[rows].astype(np.float32)
            noisy *= LEVEL
            noisy += field if own is None else self._fields(own.draw(images[rows]), channels)
            to_unit_float16(noisy, self.name, most, out[rows])
        return out

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        """The images as float32 in 0..255, (N, H, W, C), not rounded."""
        if keys is None:
            raise PrivpipeError(f"{self.name} is undone with its noise; got none. Pass dataset_key or image_keys.")
        images = perturbed.astype(np.float32)
        images *= WHITE
        images -= keys
        return images

    def _rows(self, images: Array) -> Iterator[slice]:
        """Rows to handle at a time."""
        return cached(len(images), FLOAT_BYTES * math.prod(images.shape[1:]))

    def _shared(self, channels: int) -> Floats:
        """The field of `scope: dataset`, in units where white is 1, (H, W, C)."""
        size = self.image_size * self.image_size * channels
        field: Floats = self._fields(self.shared_bytes(FLOAT_BYTES * size), channels)[0]
        return field

    def _own_streams(self, images: Images, copies: Copies | None) -> OwnStreams:
        return self.own_streams(images, FLOAT_BYTES * math.prod(images.shape[1:]), copies)

    def _fields(self, stream: Bytes, channels: int) -> Floats:
        """Noise in units where white is 1, (n, H, W, C), from random bytes (n, 4 * H * W * C)."""
        return noise(stream, self.sigma / 255).reshape(len(stream), self.image_size, self.image_size, channels)

    @property
    def _gain(self) -> float:
        """How many times the noise may exceed the largest of the values drawn."""
        return 1.0


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

    @cached_property
    def _weights(self) -> Floats:
        """The smoothing along one axis, float32 (k,)."""
        row = cv2.getGaussianKernel(self.k, blur_sigma(self.k), cv2.CV_64F).ravel()
        return np.asarray(row / math.sqrt(math.fsum(row * row)), np.float32)

    @property
    def _gain(self) -> float:
        return 1.001 * float(self._weights.sum()) ** 2  # all are positive; a little for rounding

    def _fields(self, stream: Bytes, channels: int) -> Floats:
        fields = super()._fields(stream, channels)
        return fields if self.k == 1 else smooth(fields, self._weights)


def smooth(fields: Floats, weights: Floats) -> Floats:
    """Correlate fields (n, H, W, C) along H, then along W, with symmetric `weights` (odd in number), borders reflected.

    The centre comes first, then outwards (one neighbour + the other) times their weight. OpenCV's filters fuse and
    order these operations as suits the processor.
    """
    radius = len(weights) // 2
    count, height, width, channels = fields.shape
    # Whole rows are padded, not each axis alone: then a neighbour lies at a fixed distance in memory, for all values of
    # all fields at once, so that NumPy adds long runs. What lies between the rows comes out meaningless and is cut off.
    rows = np.pad(np.arange(height), radius, mode="reflect")
    tall = np.take(fields, rows, axis=1)
    tall = _sums(tall, weights, width * channels).reshape(tall.shape)[:, :height]
    wide = np.empty((count, height, width + 2 * radius, channels), np.float32)
    wide[:, :, radius : radius + width] = tall
    for i in range(radius):
        wide[:, :, i] = tall[:, :, radius - i]
        wide[:, :, radius + width + i] = tall[:, :, width - 2 - i]
    return np.ascontiguousarray(_sums(wide, weights, channels).reshape(wide.shape)[:, :, :width])


def _sums(padded: Floats, weights: Floats, step: int) -> Floats:
    """Value i: the weighted sum of the values i, i + step, ... of `padded`; the last ones, which lack some, are 0."""
    values, radius = padded.reshape(-1), len(weights) // 2
    count = len(values) - 2 * radius * step
    total = np.zeros_like(values)
    sums = total[:count]
    np.multiply(values[radius * step :][:count], weights[radius], out=sums)
    pair = np.empty(count, np.float32)
    for distance in range(1, radius + 1):
        np.add(values[(radius - distance) * step :][:count], values[(radius + distance) * step :][:count], out=pair)
        pair *= weights[radius + distance]
        sums += pair
    return total
