"""Additive Gaussian noise that is smoothed, so that neighbouring pixels get about the same."""

import math
from functools import cached_property

import cv2
import numpy as np

from privpipe.perturb.base import Array, FilterPerturbation, Images
from privpipe.perturb.distances import MIDDLE, Digits, centred
from privpipe.perturb.gaussian_blur import blur_sigma, kernel
from privpipe.perturb.gaussian_noise import WHITE, GaussianNoise
from privpipe.perturb.keys import KeyRecovery, chance_of_direction
from privpipe.perturb.keystream import Bytes
from privpipe.perturb.linear import smoothed_covariance
from privpipe.perturb.values import ROUNDING_NEAR_WHITE, Doubles, Floats, pixel_values


class CorrelatedNoise(FilterPerturbation, GaussianNoise):
    """Gaussian noise smoothed by the blur kernel of size k, then rescaled to the same sigma.

    The rescaling divides by the root of the sum of the squared kernel weights: away from the borders,
    every pixel of the smoothed field has standard deviation sigma again. Borders are reflected without repeating the
    edge pixel.
    """

    name = "correlated_noise"
    summary = "Gaussian noise is added that is smoothed, so that neighbours get about the same"
    colour = "#975a16"

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

    def noise_covariance(self) -> Doubles | None:
        row = np.asarray(cv2.getGaussianKernel(self.k, blur_sigma(self.k), cv2.CV_64F).ravel(), np.float64)
        return smoothed_covariance(row, self.sigma, self.image_size)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        """Smoothed noise counts as white noise of fewer dimensions: those over the sum of squared autocorrelations."""
        row = kernel(self.k).sum(axis=0)
        correlations = np.correlate(row, row, "full") / (row**2).sum()
        dimensions = self.image_size**2 * channels / float((correlations**2).sum()) ** 2
        return chance_of_direction(max(1.0, dimensions))

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the distance |W (t - g)|² after whitening the noise, and what is rounded away.

        The noise is S·white·Sᵀ for each colour, S smoothing one axis. In the eigenvectors U of SSᵀ it is uncorrelated.
        What varies within a row is |Wg|² - 2·(W²t)·g: so the candidates are multiplied as they are, in 8 bits.
        Uploads of one key are told by `shared_noise`.
        """
        if 0 < self.told_together <= len(targets):
            return super().log_likelihood(targets, gallery)
        size, channels = gallery.shape[1], gallery.shape[3]
        row = kernel(self.k).sum(axis=0)
        smooth = cv2.filter2D(np.eye(size), cv2.CV_64F, row[:, None])
        powers, vectors = np.linalg.eigh(smooth @ smooth.T)
        strength = (self.sigma / float((row**2).sum())) ** 2 * np.multiply.outer(powers, powers).clip(min=0)
        weights = 1 / (strength + (ROUNDING_NEAR_WHITE + self.step**2 / 12) * float(WHITE) ** 2)

        def turned(images: Floats, axes: Doubles) -> Floats:
            """`axes` applied to both axes of images (n, H, W·C)."""
            columns = np.kron(axes.T, np.eye(channels)).astype(np.float32)  # colours stay where they are
            along = images.reshape(-1, size * channels) @ columns
            return np.asarray(axes.astype(np.float32) @ along.reshape(-1, size, size * channels))

        of_colours = np.repeat(weights, channels, axis=1).astype(np.float32)  # (H, W·C)
        other = centred(gallery.reshape(len(gallery), -1))
        seen = turned(pixel_values(targets) - np.float32(MIDDLE), vectors.T)
        rows = turned(seen * of_colours, vectors).reshape(len(seen), -1)
        asked = turned(other.astype(np.float32), vectors.T)
        out = Digits(rows, 3, len(rows) * other.size).times(other)
        out -= np.einsum("nhw,nhw,hw->n", asked, asked, of_colours, dtype=np.float64) / 2
        return np.asarray(out)

    def noise_row(self) -> Doubles | None:
        return np.asarray(cv2.getGaussianKernel(self.k, blur_sigma(self.k)).ravel(), np.float64)


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
