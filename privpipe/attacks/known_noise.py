"""Take noise that is known off images, also where they were cut to 0..255 after it was added.

A value y that was not cut is x + n, but for rounding, so that known noise n is subtracted. Of a value that was cut, n
tells a bound: y = 0 says x <= 1/2 - n, and y = 255 says x >= 254.5 - n. Under a prior of mean m and precision P (the
inverse of the covariance), x_i is normal given all others,

    N(m_i - sum over j other than i of P_ij (x_j - m_j) / P_ii, 1 / P_ii),

and of a cut value the mean of that law beyond its bound is taken, of all of them until they agree: the mean-field
approximation of a Gaussian within bounds (Bishop, Pattern Recognition and Machine Learning, 10.1). All are moved at
once (Jacobi's method), by a fraction of the way that lets them converge: one over the largest eigenvalue of P, scaled
to a diagonal of 1.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.special import erfcx

from privpipe.attacks.windows import unit_of, windows
from privpipe.perturb.base import Array, Perturbation
from privpipe.perturb.values import ROUNDING_OF_INTEGERS, Doubles, Floats, pixel_values

if TYPE_CHECKING:
    from privpipe.attacks.restoration import Prior

WHITE = 255.0
CHUNK_VALUES = 1 << 22  # values of images that are estimated at a time: 32 MB
STEPS = 50  # more change the mean SSIM of drawn images by 0.001, and by 0.02 where four values in five were cut
SMALLEST_MOVE = 0.02  # grey levels
POWER_STEPS = 30  # for the largest eigenvalue


def without_noise(perturbed: Array, method: Perturbation, key: Array, prior: "Prior") -> Floats:
    """Perturbed images without the noise that is their key, float32 (T, H, W, C), in units where white is 1.

    Args:
        perturbed: as stored, (T, H, W, C).
        method: one whose `noise_is_key`; its own key is not used.
        key: as `Perturbation.dataset_key` of the method, or as its `image_keys`.
        prior: of images, or of the windows that they are estimated in.
    """
    small = replace(method, image_size=len(prior.mean))
    matrix, out = small.operator(None), np.empty(perturbed.shape, np.float32)
    noise = key.reshape(-1, key.shape[-3] * key.shape[-2], key.shape[-1])
    known = _pixels(method.operator(None), noise).reshape(-1, *perturbed.shape[1:])
    law = _Law.of(matrix, prior)
    places = windows(method.image_size, len(prior.mean), unit_of(method), overlap=True) if method.exact else []
    step = max(1, CHUNK_VALUES // perturbed[0].size)
    for first in range(0, len(perturbed), step):
        rows = slice(first, first + step)
        values = pixel_values(perturbed[rows])
        left = values - (known if len(known) == 1 else known[rows])
        out[rows] = left
        for window in places:
            cells = law.uncut(*(small.observations(window.of(images)) for images in (values, left)))
            images = _pixels(matrix, cells).reshape(-1, *prior.mean.shape)
            out[rows, *window.core] = images[:, *window.inner_core]
    out /= np.float32(WHITE)
    return out


@dataclass(frozen=True)
class _Law:
    """The normal law of what the rows of an operator give of images, without noise.

    Args:
        mean: (Q, C).
        colours: the components of colour, (C, C), each in a row.
        precisions: of each component, (C, Q, Q).
        diagonal: of the precision of all Q·C values, (Q, C).
        spreads: standard deviations of the values alone, (Q, C).
    """

    mean: Doubles
    colours: Doubles
    precisions: Doubles
    diagonal: Doubles
    spreads: Doubles

    @classmethod
    def of(cls, matrix: csr_array, prior: "Prior") -> "_Law":
        rounded = ROUNDING_OF_INTEGERS * np.eye(matrix.shape[0])
        covariances = np.stack([matrix @ (matrix @ one).T + rounded for one in prior.covariances])
        precisions = np.linalg.inv(covariances)
        squares = prior.colours**2

        def diagonal(matrices: Doubles) -> Doubles:
            return np.asarray(np.einsum("cqq->qc", matrices) @ squares)

        mean = matrix @ prior.mean.reshape(matrix.shape[1], -1)
        return cls(mean, prior.colours, precisions, diagonal(precisions), np.sqrt(diagonal(covariances)))

    def uncut(self, seen: Array, left: Array) -> Doubles:
        """Values before they were cut, (T, Q, C), in grey levels of 0..255.

        Args:
            seen: what was observed, (T, Q, C); 0 and 255 are cut.
            left: the same less the noise that is known.
        """
        low, high = seen <= 0, seen >= WHITE
        out = np.asarray(left.clip(0, WHITE), np.float64)
        some = (low | high).any(axis=(1, 2))
        if not some.any():
            return out
        low, cut = low[some], (low | high)[some]
        bounds = left[some] + np.where(low, 0.5, -0.5)  # what is rounded to a level lies within half of one
        sides = np.where(low, 1.0, -1.0)
        rate, spreads = 1 / self._largest(), 1 / np.sqrt(self.diagonal)
        values = np.where(cut, beyond(bounds, sides, self.mean, self.spreads), left[some])
        for _ in range(STEPS):
            given = values - self._product(values - self.mean) / self.diagonal
            moved = rate * np.where(cut, beyond(bounds, sides, given, spreads) - values, 0)
            values += moved
            if np.abs(moved).max() < SMALLEST_MOVE:
                break
        out[some] = values.clip(0, WHITE)
        return out

    def _product(self, values: Doubles) -> Doubles:
        """The precision of all values times `values`, (n, Q, C)."""
        turned = (values @ self.colours.T).transpose(2, 0, 1) @ self.precisions
        return np.asarray(turned.transpose(1, 2, 0) @ self.colours)

    def _largest(self) -> float:
        """The largest eigenvalue of the precision, scaled to a diagonal of 1."""
        roots = np.sqrt(self.diagonal)
        vector, largest = np.random.default_rng(0).standard_normal((1, *roots.shape)), 1.0
        for _ in range(POWER_STEPS):
            vector = self._product(vector / roots) / roots
            largest = float(np.linalg.norm(vector))
            vector /= largest
        return largest


def beyond(bounds: Array, sides: Array, means: Array, spreads: Array) -> Doubles:
    """The mean of N(means, spreads²) up to `bounds` where `sides` are 1, and from them on where these are -1."""
    scaled = sides * (bounds - means) / spreads
    ratio = np.sqrt(2 / np.pi) / erfcx(-scaled / np.sqrt(2))  # the density over the distribution function
    return np.asarray(means - sides * spreads * ratio)


def _pixels(matrix: csr_array, values: Array) -> Array:
    """Values (n, Q, C) at all pixels of which a row of the operator (Q, P) is made, (n, P, C)."""
    count, rows, channels = values.shape
    shown = (matrix != 0).T @ values.transpose(1, 0, 2).reshape(rows, -1)
    return np.asarray(shown.reshape(-1, count, channels).transpose(1, 0, 2))
