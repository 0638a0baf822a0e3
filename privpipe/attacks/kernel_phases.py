"""Find a small kernel whose autocorrelation is known: its phases are what the autocorrelation lacks.

    from privpipe.attacks.kernel_phases import kernel_from_autocorrelation
    kernel = kernel_from_autocorrelation(autocorrelation, precision, k=5, rng=np.random.default_rng(0))

A kernel w of k×k weights has the autocorrelation a(d) = Σ w(i) w(i + d). As a polynomial in two variables it is
irreducible in general, so that a leaves open only the sign of w, a turn by 180 degrees, and a shift where outer rows or
columns are empty (Bruck and Sodin, "On the ambiguity of the image reconstruction problem", Optics Communications 30
(1979)). The squared error |a(w) - a|² has many local minima. It is descended from many random starts, first as it is,
then, from the best ones, weighted by the precision of a; the lowest minimum counts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.values import Doubles

Places = NDArray[np.int64]

# k⁴ starts: of 625 for a 5x5 kernel, between 12 and 93 ended in the right one, over 20 kernels; of 2401 for a 7x7
# kernel, between 9 and 115, over 6 kernels.
STARTS_POWER = 4
BATCH = 250  # starts that descend together
FIRST_ROUNDS, LAST_ROUNDS = 25, 20  # of the descents without and with the precision
KEPT = 0.15  # fraction of the starts that go into the second descent
EMPTY = 1e-3  # fraction of a kernel's energy up to which outer rows or columns count as empty


def kernel_from_autocorrelation(
    autocorrelation: Doubles, precision: Doubles, k: int, rng: np.random.Generator
) -> Doubles:
    """The kernel, float64 (k, k), in the middle of empty rows and columns; its sign and turn mean nothing.

    Args:
        autocorrelation: (L,), one value for each number in `lags(k)`.
        precision: (L, L), the inverse of its covariance up to a factor; positive definite.
        k: side of the kernel.
        rng: of the random starts.
    """
    places, count = lags(k), k * k
    starts = rng.standard_normal((k**STARTS_POWER, count))
    # The autocorrelation at no distance is the sum of squared weights.
    starts *= np.sqrt(max(autocorrelation[0], 1e-12) / (starts**2).sum(axis=1, keepdims=True))
    kernels, costs = _descend(starts, autocorrelation, np.eye(len(precision)), places, FIRST_ROUNDS)
    best = np.argsort(costs)[: int(np.ceil(KEPT * len(starts)))]
    root = np.asarray(np.linalg.cholesky(precision).T, np.float64)
    kernels, costs = _descend(kernels[best], autocorrelation, root, places, LAST_ROUNDS)
    return centred(kernels[np.argmin(costs)].reshape(k, k))


def lags(k: int) -> Places:
    """(k², k²), 0..L-1: the number of the difference between two weights' positions; 0 is none.

    Opposite differences share a number, and a value of the autocorrelation is the sum over all pairs that have its.
    """
    y, x = np.divmod(np.arange(k * k), k)
    code = (y[:, None] - y) * (2 * k) + x[:, None] - x
    numbers = np.unique(np.abs(code), return_inverse=True)[1]
    return np.asarray(numbers.reshape(code.shape), np.int64)


def centred(kernel: Doubles) -> Doubles:
    """`kernel` (k, k) with its empty outer rows and columns, which hide a shift, alike on all sides."""
    shifts = []
    for axis in (0, 1):
        energy = (kernel**2).sum(axis=1 - axis)
        below, above = np.cumsum(energy), np.cumsum(energy[::-1])[::-1]
        filled = np.flatnonzero(np.minimum(below, above) > EMPTY * energy.sum())
        shifts.append((len(kernel) - 1 - filled[0] - filled[-1]) // 2 if len(filled) else 0)
    return np.asarray(np.roll(kernel, shifts, axis=(0, 1)))


def turned(kernel: Doubles) -> Doubles:
    """`kernel` (k, k) by 180 degrees."""
    return kernel[::-1, ::-1]


def _descend(
    starts: Doubles, autocorrelation: Doubles, root: Doubles, places: Places, rounds: int
) -> tuple[Doubles, Doubles]:
    """Minimise |root·(a(w) - autocorrelation)|² from each of `starts` (n, k²): kernels (n, k²) and costs (n,)."""
    count = starts.shape[1]
    slopes = 2.0 * (places[:, :, None] == np.arange(len(root)))  # (k², k², L)
    slopes = (slopes @ root.T).swapaxes(0, 1).reshape(count, -1)
    batches = [starts[first : first + BATCH] for first in range(0, len(starts), BATCH)]
    results = [_descend_batch(batch, slopes, root @ autocorrelation, rounds) for batch in batches]
    return np.concatenate([kernels for kernels, _ in results]), np.concatenate([costs for _, costs in results])


def _descend_batch(kernels: Doubles, slopes: Doubles, goal: Doubles, rounds: int) -> tuple[Doubles, Doubles]:
    """As `_descend`, by Levenberg-Marquardt on all kernels at once (Marquardt, Journal of SIAM 11 (1963))."""
    fits, damping = _Fits.of(kernels, slopes, goal), np.full(len(kernels), 1e-2)
    for _ in range(rounds):
        tried = _Fits.of(fits.kernels - fits.steps(damping), slopes, goal)
        better = tried.costs < fits.costs
        fits = fits.replaced(better, tried)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-9, 1e6)
    return fits.kernels, fits.costs


@dataclass(frozen=True)
class _Fits:
    """Kernels w, and how far their autocorrelations a(w) are from the goal.

    Args:
        kernels: (n, k²).
        derivatives: of a(w) by the weights, (n, k², L).
        residuals: a(w) - goal, (n, L).
        costs: their squared lengths, (n,).
    """

    kernels: Doubles
    derivatives: Doubles
    residuals: Doubles
    costs: Doubles

    @classmethod
    def of(cls, kernels: Doubles, slopes: Doubles, goal: Doubles) -> "_Fits":
        """a(w) is a sum of products of two weights.

        Its derivatives are linear in the weights, through `slopes` (k², k²·L), and a(w) is half their product with the
        weights.
        """
        derivatives = (kernels @ slopes).reshape(*kernels.shape, -1)
        residuals = (kernels[:, None, :] @ derivatives)[:, 0] / 2 - goal
        return cls(kernels, derivatives, residuals, (residuals**2).sum(axis=1))

    def steps(self, damping: Doubles) -> Doubles:
        """What to take off the kernels, (n, k²): Gauss-Newton steps, shortened by `damping` (n,)."""
        count = self.kernels.shape[1]
        normal = self.derivatives @ self.derivatives.swapaxes(1, 2)
        scale = damping * np.trace(normal, axis1=1, axis2=2) / count + np.finfo(np.float64).tiny
        normal += scale[:, None, None] * np.eye(count)
        return np.asarray(np.linalg.solve(normal, self.derivatives @ self.residuals[:, :, None])[:, :, 0])

    def replaced(self, chosen: NDArray[np.bool_], other: "_Fits") -> "_Fits":
        """Those of `other` where `chosen` (n,)."""
        return _Fits(
            np.where(chosen[:, None], other.kernels, self.kernels),
            np.where(chosen[:, None, None], other.derivatives, self.derivatives),
            np.where(chosen[:, None], other.residuals, self.residuals),
            np.where(chosen, other.costs, self.costs),
        )
