"""Correlation with a secret k×k kernel of independent N(0, 1) weights.

The paper's "random filter" is `scope: dataset`, its "i.i.d. random filter" is `scope: image`.
"""

import math
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.base import (
    Array,
    Images,
    Perturbation,
    cached,
    odd_sizes,
    one_by_one,
    side_by_side,
    to_unit_float16,
)
from privpipe.perturb.keystream import NORMAL_END, Copies, OwnStreams, normal

WHITE = 255.0
FLOAT_BYTES = 4
NUMBER_BYTES = 4


class RandomFilter(Perturbation):
    """`cv2.filter2D(image / 255, CV_32F, weights)`, the same weights for the three colours.

    On floats, because 8-bit output saturates and destroys the picture; the result is stored as float16.
    It offers no inverse: the map is linear, but for most draws its condition number grows exponentially
    with the image size, so that what float16 rounds away swamps the solution. Estimating the picture all
    the same is restoration, an attack.
    """

    name = "random_filter"
    keyed = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return odd_sizes(image_size)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The kernel of all images (`scope: dataset`), float64 (k, k)."""
        return normal(self.shared_bytes(NUMBER_BYTES * self.k * self.k)).reshape(self.k, self.k)

    @property
    def dataset_key(self) -> NDArray[np.float64]:
        """`weights`."""
        return self.weights

    def image_keys(self, images: Images, copies: Copies | None = None) -> NDArray[np.float64]:
        """The kernels of each image (`scope: image`), float64 (N, k, k)."""
        return self._kernels(images, self._own(images, copies))

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty(images.shape, np.float16)
        most = 1.001 * NORMAL_END * self.k * self.k  # all weights at their end on a white image; a little for rounding
        if self.scope == "dataset":
            for rows, picture in side_by_side(images, FLOAT_BYTES):
                shared: Array = cv2.filter2D(picture.astype(np.float32), cv2.CV_32F, self.weights / WHITE)
                out[rows] = one_by_one(to_unit_float16(shared, self.name, most), images.shape[-1])
            return out
        own = self._own(images, copies)
        for rows in cached(len(images), FLOAT_BYTES * math.prod(images.shape[1:])):
            plain = images[rows].astype(np.float32)
            filtered = np.empty_like(plain)
            kernels = self._kernels(images[rows], own) / WHITE
            for image, kernel, result in zip(plain, kernels, filtered, strict=True):
                cv2.filter2D(image, cv2.CV_32F, kernel, result)  # nothing but this is done image by image
            to_unit_float16(filtered, self.name, most, out[rows])
        return out

    def _own(self, images: Images, copies: Copies | None) -> OwnStreams:
        return self.own_streams(images, NUMBER_BYTES * self.k * self.k, copies)

    def _kernels(self, images: Images, own: OwnStreams) -> NDArray[np.float64]:
        """The kernels of images, float64 (N, k, k)."""
        return normal(own.draw(images)).reshape(len(images), self.k, self.k)
