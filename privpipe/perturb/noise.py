"""Additive Gaussian noise, independent per pixel or smoothed."""

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.base import Array, Images, Perturbation, odd_sizes, to_unit_float16
from privpipe.perturb.gaussian_blur import blur_sigma
from privpipe.perturb.keystream import KeyStream

WHITE = 255.0
COLOURS = 3


class GaussianNoise(Perturbation):
    """image / 255 + (sigma / 255) · N(0, 1), independent for every pixel and colour, never clipped.

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
    def dataset_key(self) -> NDArray[np.float32]:
        """The noise of all images of three colours (`scope: dataset`), float32 (H, W, 3), in levels of 0..255."""
        return self._field(self.material(), COLOURS)

    def image_keys(self, split: str, start: int, count: int) -> NDArray[np.float32]:
        """The noise of images `start` .. `start + count - 1` of three colours, float32 (count, H, W, 3), in levels."""
        fields = [self._field(self.image_material(split, start + i), COLOURS) for i in range(count)]
        return np.array(fields, np.float32).reshape(count, self.image_size, self.image_size, COLOURS)

    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        return to_unit_float16(self._add(images.astype(np.float32), 1.0, split, start) / np.float32(WHITE), self.name)

    def invert(self, perturbed: Array, split: str = "train", start: int = 0) -> Array:
        """The images as float32 in 0..255, (N, H, W, C), not rounded."""
        return self._add(perturbed.astype(np.float32) * np.float32(WHITE), -1.0, split, start)

    def _add(self, images: NDArray[np.float32], sign: float, split: str, start: int) -> NDArray[np.float32]:
        channels = images.shape[-1]
        if self.scope == "dataset":
            return images + np.float32(sign) * self._field(self.material(), channels)
        for i in range(len(images)):
            images[i] += np.float32(sign) * self._field(self.image_material(split, start + i), channels)
        return images

    def _field(self, stream: KeyStream, channels: int) -> NDArray[np.float32]:
        return self._shape(stream.normal(self.image_size, self.image_size, channels))

    def _shape(self, white: NDArray[np.float64]) -> NDArray[np.float32]:
        """Independent N(0, 1) values (H, W, C) made into the noise to add, in levels of 0..255."""
        return (self.sigma * white).astype(np.float32)


class CorrelatedNoise(GaussianNoise):
    """Gaussian noise smoothed by the blur kernel of size k, then rescaled to the same sigma.

    The rescaling divides by the root of the sum of the squared kernel weights: away from the borders,
    every pixel of the smoothed field has standard deviation sigma again.
    """

    name = "correlated_noise"

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return odd_sizes(image_size)

    def _shape(self, white: NDArray[np.float64]) -> NDArray[np.float32]:
        row = cv2.getGaussianKernel(self.k, blur_sigma(self.k), cv2.CV_64F)
        smooth = cv2.sepFilter2D(white, cv2.CV_64F, row, row).reshape(white.shape)
        return (self.sigma / float((row**2).sum()) * smooth).astype(np.float32)
