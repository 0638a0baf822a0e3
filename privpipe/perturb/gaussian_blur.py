"""Gaussian blur with a k×k kernel; keyless, so anybody knows exactly what was done."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from privpipe.perturb.base import Array, FilterPerturbation, Images, one_by_one, side_by_side
from privpipe.perturb.keystream import Copies
from privpipe.perturb.linear import correlation
from privpipe.perturb.method import Drawing
from privpipe.perturb.values import Doubles, Floats

FIXED_POINT = 256  # OpenCV's 8-bit blur has weights in multiples of 1/256
LARGEST_SIDE_BY_SIDE = 96 * 96 * 3  # an image of more fills the cache alone: side by side with others it takes longer


def blur_sigma(k: int) -> float:
    """The standard deviation in pixels that OpenCV documents for a kernel of size `k`.

    It is passed explicitly: with sigma 0, OpenCV takes a fixed table for k up to 7 instead of this formula.
    """
    return 0.3 * ((k - 1) / 2 - 1) + 0.8


def kernel(k: int) -> NDArray[np.float64]:
    """The k×k blur kernel, float64, summing to 1."""
    row = cv2.getGaussianKernel(k, blur_sigma(k), cv2.CV_64F)
    return np.asarray(row @ row.T, dtype=np.float64)


def blur_row(k: int) -> Doubles:
    """The weights (k,) that `cv2.GaussianBlur` has for 8-bit images, along one axis: multiples of 1/256.

    OpenCV rounds from the ends to the middle and carries each error to the next weight; the middle takes what is left.
    Its sums are then exact, and the result is rounded once.
    """
    exact = cv2.getGaussianKernel(k, blur_sigma(k), cv2.CV_64F).ravel() * FIXED_POINT
    row = np.zeros(k)
    error = 0.0
    for i in range(k // 2):
        row[i] = row[k - 1 - i] = np.rint(exact[i] + error)
        error += exact[i] - row[i]
    row[k // 2] = FIXED_POINT - row.sum()
    return row / FIXED_POINT


class GaussianBlur(FilterPerturbation):
    """`cv2.GaussianBlur(image, (k, k), blur_sigma(k))` of every image, in OpenCV's exact 8-bit arithmetic.

    Borders are reflected without repeating the edge pixel (OpenCV's default). It has no inverse: the
    rounding to 8 bits loses what the blur left of the high frequencies.
    """

    name = "gaussian_blur"
    summary = "every pixel becomes a mean of its surroundings, weighted by a Gaussian"
    exact = True
    operator_without_key = True
    usual_sizes = (3, 5, 7)
    colour = "#2b6cb0"

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty_like(images)
        sigma = blur_sigma(self.k)
        if math.prod(images.shape[1:]) > LARGEST_SIDE_BY_SIDE:
            for image, blurred in zip(images, out, strict=True):
                cv2.GaussianBlur(image, (self.k, self.k), sigma, dst=blurred)
            return out
        for rows, sheet in side_by_side(images):
            out[rows] = one_by_one(cv2.GaussianBlur(sheet, (self.k, self.k), sigma), images.shape[-1])
        return out

    def operator(self, key: Array | None) -> csr_array:
        row = blur_row(self.k)
        return correlation(np.outer(row, row), self.image_size)

    def axis_operator(self) -> Floats | None:
        size = self.image_size
        sources = np.pad(np.arange(size), self.k // 2, mode="reflect")
        matrix = np.zeros((size, size), np.float32)
        for offset, weight in enumerate(blur_row(self.k)):
            np.add.at(matrix, (np.arange(size), sources[offset : offset + size]), weight)
        return matrix

    def drawing(self) -> Drawing:
        return Drawing(f"Gaussian blur kernel, k = {self.k}", kernel(self.k))
