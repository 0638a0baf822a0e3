"""Gaussian blur with a k×k kernel; keyless, so anybody knows exactly what was done."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.base import Array, Images, Perturbation, odd_sizes, one_by_one, side_by_side
from privpipe.perturb.keystream import Copies

ALONE_VALUES = 96 * 96 * 3  # a picture of more fills the cache alone: side by side with others it takes longer


def blur_sigma(k: int) -> float:
    """The standard deviation in pixels that OpenCV documents for a kernel of size `k`.

    It is passed explicitly: with sigma 0, OpenCV takes a fixed table for k up to 7 instead of this formula.
    """
    return 0.3 * ((k - 1) / 2 - 1) + 0.8


def kernel(k: int) -> NDArray[np.float64]:
    """The k×k blur kernel, float64, summing to 1."""
    row = cv2.getGaussianKernel(k, blur_sigma(k), cv2.CV_64F)
    return np.asarray(row @ row.T, dtype=np.float64)


class GaussianBlur(Perturbation):
    """`cv2.GaussianBlur(image, (k, k), blur_sigma(k))` of every image, in OpenCV's exact 8-bit arithmetic.

    Borders are reflected without repeating the edge pixel (OpenCV's default). It has no inverse: the
    rounding to 8 bits loses what the blur left of the high frequencies.
    """

    name = "gaussian_blur"
    exact = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return odd_sizes(image_size)

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty_like(images)
        sigma = blur_sigma(self.k)
        if math.prod(images.shape[1:]) > ALONE_VALUES:
            for image, blurred in zip(images, out, strict=True):
                cv2.GaussianBlur(image, (self.k, self.k), sigma, dst=blurred)
            return out
        for rows, picture in side_by_side(images):
            out[rows] = one_by_one(cv2.GaussianBlur(picture, (self.k, self.k), sigma), images.shape[-1])
        return out
