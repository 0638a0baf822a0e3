"""What is measured of patches of filtered and of unfiltered images, and what a kernel would make of the one.

`privpipe.attacks.filter_likelihood` has the method. A patch of p×p pixels of a filtered image is y = K x, x the patch
of q×q pixels, q = p + k - 1, of the image.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.moments import Sums, parts_of
from privpipe.perturb.base import Array, Images
from privpipe.perturb.values import Doubles, Floats

WINDOW = 32  # larger images are cut: what a kernel does shows within few pixels, and covariances grow with side^4
MARGIN = 4  # of a patch over k. Patches of k pixels would do; larger ones see more of the spectrum
CHUNK = 1000  # images, the first of a set, that means and the noise of rounding are measured on


@dataclass(frozen=True)
class Windows:
    """Sums over windows of images, and the value of each component of colour from which they are counted.

    C counts principal components of colour, P = side² the pixels of a window.
    """

    sums: Sums
    centre: Doubles  # (C,)

    @classmethod
    def of(cls, images: Array, basis: Doubles, centre: Doubles) -> "Windows":
        def components(part: Array) -> Floats:
            """(C, n, P)."""
            windows = cut_windows(part) @ basis.astype(np.float32) - centre.astype(np.float32)
            return np.ascontiguousarray(windows.reshape(len(windows), -1, len(basis)).transpose(2, 0, 1))

        return cls(Sums.of(map(components, parts_of(images)), np.float64), centre)

    def __add__(self, other: "Windows") -> "Windows":
        """Of both sets; they have the same centre."""
        return Windows(self.sums + other.sums, self.centre)

    def patches(self, size: int, margin: int) -> tuple[Doubles, Doubles]:
        """Of the patches of size×size pixels that keep `margin` from a window's borders: the covariances averaged over
        positions (C, size², size²), and the means at each position (C, positions, size²)."""
        mean, covariances = self.sums.mean, self.sums.covariances()
        side = int(np.sqrt(mean.shape[1]))
        grid = np.arange(side**2).reshape(side, side)
        corners = product(range(margin, side - margin - size + 1), repeat=2)
        places = [grid[y : y + size, x : x + size].ravel() for y, x in corners]
        total = sum(covariances[:, place[:, None], place] for place in places)
        means = np.stack([mean[:, place] for place in places], axis=1)
        return np.asarray(total / len(places)), means + self.centre[:, None, None]


@dataclass(frozen=True)
class Model:
    """What is known of patches: p×p pixels of filtered images and q×q of unfiltered ones, q = p + k - 1.

    Args:
        unfiltered, filtered: covariances, (C, q², q²) and (C, p², p²).
        unfiltered_mean, filtered_mean: (C, positions, q²) and (C, positions, p²).
        taps: (p², k²), the pixel of a q×q patch that each weight meets for each pixel of a p×p patch.
        noise: variance that rounding to float16 adds.
        mean_error: variance of the difference of the two mean images, relative to that of an image.
    """

    unfiltered: Doubles
    filtered: Doubles
    unfiltered_mean: Doubles
    filtered_mean: Doubles
    taps: NDArray[np.int64]
    noise: float
    mean_error: float

    @classmethod
    def of(cls, unfiltered: Windows, filtered: Windows, k: int, noise: float) -> "Model":
        side = int(np.sqrt(unfiltered.sums.values.shape[1]))
        p = min(k + MARGIN, side - k + 1)
        q = p + k - 1
        grid = np.arange(q * q).reshape(q, q)
        taps = np.stack([grid[y : y + p, x : x + p].ravel() for y, x in product(range(k), repeat=2)], axis=1)
        before, before_mean = unfiltered.patches(q, 0)
        after, after_mean = filtered.patches(p, k // 2)
        # A little variance everywhere keeps directions that hold none, as in images of one colour, from dividing by 0.
        after += noise * np.eye(p * p)
        mean_error = 1 / unfiltered.sums.count + 1 / filtered.sums.count
        return cls(before, after, before_mean, after_mean, taps, noise, mean_error)

    @property
    def k(self) -> int:
        return int(np.sqrt(self.taps.shape[1]))

    def matrix(self, weights: Doubles) -> Doubles:
        """K, (p², q²)."""
        matrix = np.zeros((len(self.taps), self.unfiltered.shape[1]))
        np.put_along_axis(matrix, self.taps, np.broadcast_to(weights.ravel(), self.taps.shape), axis=1)
        return matrix

    def covariances(self, weights: Doubles) -> Doubles:
        """C(w), (C, p², p²)."""
        matrix = self.matrix(weights)
        return np.asarray(matrix @ self.unfiltered @ matrix.T + 2 * self.noise * np.eye(len(matrix)))

    def cost_and_gradient(self, weights: Doubles) -> tuple[float, Doubles]:
        """tr(C⁻¹ S) + log det C per value of a patch, and its derivatives by the weights, (k²,)."""
        matrix, expected = self.matrix(weights), self.covariances(weights)
        inverse = np.linalg.inv(expected)
        ratio = inverse @ self.filtered
        cost = np.trace(ratio, axis1=1, axis2=2).sum() + np.linalg.slogdet(expected)[1].sum()
        slopes = (2 * (inverse - ratio @ inverse) @ matrix @ self.unfiltered).sum(axis=0)
        gradient = np.take_along_axis(slopes, self.taps, axis=1).sum(axis=0)
        values = self.filtered.shape[0] * self.filtered.shape[1]
        return float(cost) / values, gradient / values

    def relative(self, error: Doubles) -> float:
        """Mean square of an error of `filtered`, (C, p², p²), per direction and relative to the variance in it."""
        whitener = whitener_of(self.filtered)
        return float(((whitener @ error @ whitener.swapaxes(1, 2)) ** 2).sum(axis=(1, 2)).mean() / error.shape[1])


def whitener_of(covariances: Doubles) -> Doubles:
    """(C, n, n): the inverse of the Cholesky factor of each."""
    return np.linalg.inv(np.linalg.cholesky(covariances))


def colour_basis(public: Images) -> Doubles:
    """(C, C): in columns, the principal components of colour; the last one has the largest variance."""
    pixels = public[:CHUNK].reshape(-1, public.shape[3]).astype(np.float64)
    return np.asarray(np.linalg.eigh(np.atleast_2d(np.cov(pixels, rowvar=False)))[1])


def middle_of(images: Array) -> Doubles:
    """(C,): about the mean colour."""
    return np.asarray(cut_windows(images[:CHUNK]).mean(axis=(0, 1, 2), dtype=np.float64))


def cut_windows(images: Array) -> Floats:
    """Images as square windows, float32 (n, side, side, C) in units where white is 1, cut from their middle."""
    side = int(min(WINDOW, *images.shape[1:3]))
    rows, columns = ((length % side) // 2 + side * np.arange(length // side) for length in images.shape[1:3])
    cut = [images[:, y : y + side, x : x + side] for y, x in product(rows, columns)]
    windows: Floats = np.concatenate(cut).astype(np.float32)
    return windows / np.float32(255) if images.dtype == np.uint8 else windows
