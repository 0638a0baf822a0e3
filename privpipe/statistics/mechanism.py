"""Sums over a set of images, with Gaussian noise: the release.

Each image gives a vector z of Euclidean norm at most 1 and a target r, one number for each class, |r| <= 1. What is
added up is

    t(z, r) = mu · (sqrt(1 - f) · r zᵀ,  sqrt(f) · pack(z zᵀ)),

cross moments and, for a positive fraction f of the budget, second moments, packed so that their Euclidean norm is the
Frobenius norm of the matrix. Hence |t|² = mu²·((1 - f)·|r|²·|z|² + f·|z|⁴) <= mu²: with independent N(0, 1) added to
every number of the total, adding or removing one image is one Gaussian mechanism of that mu, and `accounting` says what
it guarantees. With r the label as a unit vector, cross moments are the sums of each class. With r what a classifier of
public images leaves unexplained of the label, they are the gradient by which it improves (`heads`).

What an image shows and which label it has are protected, the number of images is not: it is published, so that a
neighbouring set is one in which an image's contribution is left out ("zero-out" neighbours, Kairouz et al., "Practical
and private (deep) learning without sampling or shuffling", ICML 2021). Maps from images to z and r must not depend on
the images that are summed: they are fixed, or made of public images.

All sums are float64. A number of a computer plus noise tells by its last digits which sum it was made of (Mironov, CCS
2012): all values that the noise can take, moved by the sum, are others for another sum. So a total with noise is
rounded to multiples of `GRID`, which are the same for every sum. Of noise that is dense beside these (`fine_normal`)
each comes as often as the normal law says, to within what adds less than 1e-9 to delta, for mu up to 2.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from privpipe.errors import PrivpipeError
from privpipe.statistics.values import Doubles, Floats, batches

ROWS = 4096  # vectors at a time
GRID = 2.0**-10  # of what is released, in deviations of the noise; a power of two
SAFE = 1 - 1e-6  # rounding to float32 must not make a vector longer than 1


@dataclass(frozen=True)
class Budget:
    """How much a release may tell, and how it is split.

    Args:
        mu: of the whole release, see `accounting.mu_of`; positive.
        moment: fraction of mu² that second moments get, 0 (they are not released) to below 1. Fixed before the images
            are looked at.
    """

    mu: float
    moment: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.mu < np.inf:
            raise PrivpipeError(f"mu must be positive and finite; got {self.mu}. Use accounting.mu_of(epsilon, delta).")
        if not 0 <= self.moment < 1:
            raise PrivpipeError(
                f"the moments' fraction must be at least 0 and below 1; got {self.moment}. Use 0 or 0.5."
            )

    @property
    def scales(self) -> tuple[float, float]:
        """What cross moments and second moments are multiplied by before noise N(0, 1) is added."""
        return self.mu * (1 - self.moment) ** 0.5, self.mu * self.moment**0.5


@dataclass(frozen=True)
class Sums:
    """A release, or sums without noise.

    Args:
        cross: sum of r zᵀ, float64 (classes, d).
        moment: sum of z zᵀ, float64 (d, d), symmetric; None where it is not released.
        count: how many images were summed.
        cross_variance, moment_variance: of the noise in each number of `cross`, and in each on the diagonal of `moment`
            (half as much beside it); 0 without noise.
    """

    cross: Doubles
    moment: Doubles | None
    count: int
    cross_variance: float = 0.0
    moment_variance: float = 0.0


def clipped(rows: Floats) -> Floats:
    """Rows (N, d), shortened to norm 1 where they are longer."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(rows * (SAFE / np.maximum(norms, SAFE)), np.float32)


def exact_sums(vectors: Floats, targets: Floats | sparse.csr_matrix, *, moment: bool = False) -> Sums:
    """The sums without noise, which must not be published.

    Args:
        vectors: z, float32 (N, d), each of norm at most 1.
        targets: r, (N, classes), each of norm at most 1; a sparse matrix where there are many classes.
        moment: whether to sum z zᵀ too.

    Raises:
        PrivpipeError: a row is longer than 1 or not finite, or there is not one target for each vector.
    """
    if len(vectors) != targets.shape[0]:
        raise PrivpipeError(f"there must be a target for each vector; got {targets.shape[0]} for {len(vectors)}.")
    dims = vectors.shape[1]
    cross, second = np.zeros((targets.shape[1], dims)), np.zeros((dims, dims))
    for rows in batches(len(vectors), ROWS):
        z, r = vectors[rows].astype(np.float64), targets[rows].astype(np.float64)
        _check(z)
        _check(r)
        cross += r.T @ z
        if moment:
            second += z.T @ z
    return Sums(cross, second if moment else None, len(vectors))


def noise_count(dims: int, classes: int, budget: Budget) -> int:
    """How many values N(0, 1) a release needs."""
    return classes * dims + (dims * (dims + 1) // 2 if budget.moment else 0)


def release(vectors: Floats, targets: Floats | sparse.csr_matrix, budget: Budget, noise: Doubles) -> Sums:
    """Sums with noise, which may be published.

    Args:
        vectors: z, float32 (N, d), each of norm at most 1, see `clipped`.
        targets: r, (N, classes), likewise; see `exact_sums`.
        noise: independent N(0, 1), float64 (`noise_count`,), dense beside `GRID`: secret, and never used for anything
            else.

    Raises:
        PrivpipeError: what `exact_sums` refuses, or `noise` has another length.
    """
    return noisy(exact_sums(vectors, targets, moment=budget.moment > 0), budget, noise)


def noisy(sums: Sums, budget: Budget, noise: Doubles) -> Sums:
    """`release` of sums that have been made: the same set under another budget."""
    total = contribution(sums, budget)
    if noise.shape != total.shape:
        raise PrivpipeError(f"noise must be {len(total)} values, one for each number released; got {noise.shape}.")
    return decoded(_rounded(total, noise), len(sums.cross), sums.count, budget)


def contribution(sums: Sums, budget: Budget) -> Doubles:
    """t of the module's description, of one image or of a whole set: all numbers in units of the noise."""
    scale, moment_scale = budget.scales
    parts = [scale * sums.cross.ravel()]
    if budget.moment:
        if sums.moment is None:
            raise PrivpipeError("the budget has a part for second moments, which were not summed. Use moment=True.")
        parts.append(moment_scale * packed(sums.moment))
    return np.concatenate(parts)


def decoded(values: Doubles, classes: int, count: int, budget: Budget) -> Sums:
    """The sums that numbers in units of the noise, `contribution`'s or with noise, stand for."""
    scale, moment_scale = budget.scales
    if not budget.moment:
        return Sums(values.reshape(classes, -1) / scale, None, count, 1 / scale**2)
    # There are n = classes·d + d·(d + 1)/2 numbers.
    half = classes + 0.5
    dims = round(float(np.sqrt(half * half + 2 * len(values)) - half))
    first = values[: classes * dims].reshape(classes, dims) / scale
    second = unpacked(values[classes * dims :] / moment_scale)
    return Sums(first, second, count, 1 / scale**2, 1 / moment_scale**2)


def packed(matrix: Doubles) -> Doubles:
    """The upper triangle of a symmetric matrix (d, d), (d·(d + 1)/2,), off the diagonal times sqrt(2).

    Each number stands for itself and its mirror image, so that the Euclidean norm is the Frobenius norm.
    """
    rows, columns = np.triu_indices(len(matrix))
    return np.asarray(matrix[rows, columns] * np.where(rows == columns, 1, np.sqrt(2)))


def unpacked(values: Doubles) -> Doubles:
    """The symmetric matrix that `packed` gives these values of."""
    dims = round((np.sqrt(8 * len(values) + 1) - 1) / 2)
    rows, columns = np.triu_indices(dims)
    matrix = np.zeros((dims, dims))
    matrix[rows, columns] = matrix[columns, rows] = values / np.where(rows == columns, 1, np.sqrt(2))
    return matrix


def _rounded(total: Doubles, noise: Doubles) -> Doubles:
    """total + noise, to the nearest multiple of `GRID`; what is rounded before that does not depend on the total."""
    whole = np.floor(total / GRID)
    return np.asarray(GRID * (whole + np.rint(total / GRID - whole + noise / GRID)))


def _check(rows: Doubles | sparse.csr_matrix) -> None:
    norms = sparse.linalg.norm(rows, axis=1) if sparse.issparse(rows) else np.linalg.norm(rows, axis=1)
    if not (norms <= 1).all():
        worst = f"norm {norms.max():.6g}" if np.isfinite(norms).all() else "one that is not finite"
        raise PrivpipeError(f"what is summed has norm at most 1; got {worst}. Use mechanism.clipped first.")
