"""Find the key that all images share from known pairs of an original and its perturbed image (level L2).

    from privpipe.attacks.known_plaintext import solve
    found = solve(pairs, "block_scramble", k=4, sigma=0.0)

What it assumes: a keyed method under `scope: dataset` with known settings, and m pairs; a pair is an original that
reached the attacker some other way. What every method leaves to solve:

- block_scramble: which pixel went where. Linear assignment in each block with the least sum of squared differences over
  pairs and colours. Pixels of a block that are equal in all pairs cannot be told apart, and need not be.
- block_mix: y = W x, 3m equations for each row of W, which has k*k weights. Where they are too few, the most
  probable W is taken: weights are N(0, 1/k²) beforehand, and the noise is the rounding to float16. That is ridge
  regression with known variances (Bayesian linear regression: Bishop, Pattern Recognition and Machine Learning, 3.3).
- random_filter: the same for the k*k weights of the filter, N(0, 1) beforehand; every pixel and colour is an equation.
- gaussian_noise, correlated_noise: the mean difference is the field, exact up to rounding.

Attacks with known pairs are as old as cryptanalysis; linear algebra makes one of every linear cipher.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from privpipe.attacks.base import Attack, Attempt, Floats, Loot, Pairs, levels_of_grey
from privpipe.attacks.correlations import undo
from privpipe.attacks.restoration import MAX_PIXELS, Prior, estimate, operator, restore
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS
from privpipe.perturb.base import Array, to_blocks

Doubles = NDArray[np.float64]

WHITE = 255.0
MAX_FOLDS = 10  # of cross-validation
EXACT = ("block_scramble", "gaussian_noise", "correlated_noise")  # methods with an exact inverse
MAX_UNKNOWNS = 1 << 26  # coefficients of the systems to solve: 512 MB in float64
SMALLEST_NOISE = 1e-12  # variance in units where white is 1; keeps systems regular where nothing was rounded


@dataclass(frozen=True)
class Solved:
    """The key that explains the pairs best.

    Args:
        key: in the form of `Perturbation.dataset_key` of the method.
        confidence: 0..1, how far it can be believed: whether the key of some pairs (of a single pair: of some of its
            colours) explains the others; see `solve`.
        covariances: of the errors of each row of a block's matrix (block_mix), (blocks, k*k, k*k); else None.
    """

    key: Array
    confidence: float
    covariances: Doubles | None = None


class KnownPlaintext(Attack):
    """`solve`, then what the key makes of the targets: the exact inverse, or the best linear estimate."""

    name = "known_plaintext"
    levels = ("L2",)
    seeks_key = True

    def applies(self, method: str, scope: str) -> bool:
        return method in SOLVERS and scope == "dataset"

    def run(self, loot: Loot) -> Attempt:
        if loot.pairs is None:
            raise PrivpipeError(f"{self.name} needs known pairs; got none. Run it at level L2.")
        found = solve(loot.pairs, loot.method, loot.k, loot.sigma)
        # Some methods need the linear estimate, which is for small images only; the key is found anyway.
        restorable = loot.method in EXACT or loot.image_size**2 <= MAX_PIXELS
        return Attempt(_undo(loot, found) if restorable else None, found.confidence, found.key)


def solve(pairs: Pairs, method: str, k: int, sigma: float) -> Solved:
    """Find the key of a method with `scope: dataset`.

    How confidence is measured:

    - block_scramble: a right key explains every pixel. It is the share of pixels that can be told apart and lie in
      blocks that are explained to the last level.
    - random_filter and noise: what rounding leaves unexplained, over what is left unexplained of each pair by the key
      of the others. Of a single pair, noise has nothing else to be compared with than its strength, `sigma`.
    - block_mix: how far, in decibels, the key of the others goes in explaining each pair, from what the means of blocks
      explain (0) to all but the rounding (1).

    The key of one image (`scope: image`) explains its pair as well as a key of all would: only a second pair tells.

    Args:
        pairs: m at least 1.
        method, k, sigma: the transformation, as `privpipe.params.Perturb` describes it.

    Raises:
        PrivpipeError: the method has no key to find, or the pairs are not as described.
    """
    if method not in SOLVERS:
        raise PrivpipeError(f"{method} has no key to find in pairs. Use one of {', '.join(SOLVERS)}.")
    originals, perturbed = pairs.originals, pairs.perturbed
    if originals.dtype != np.uint8 or originals.ndim != 4 or not originals.size or originals.shape != perturbed.shape:
        raise PrivpipeError(
            "pairs must be originals, uint8 (m, H, W, C) with m at least 1, and perturbed images of that shape; got "
            f"{originals.dtype} {originals.shape} and {perturbed.dtype} {perturbed.shape}."
        )
    size = originals.shape[1]
    legal = METHODS[method].legal_k(size)
    if size != originals.shape[2] or (legal is not None and k not in legal):
        raise PrivpipeError(
            f"images must be square and k of {method} one of {legal} for {size} pixels; got k = {k} and "
            f"{originals.shape[1]}x{originals.shape[2]}."
        )
    unknowns = {"block_scramble": size**2 * k**2, "block_mix": size**2 * k**2, "random_filter": MAX_FOLDS * k**4}.get(
        method, 0
    )
    if unknowns > MAX_UNKNOWNS:
        raise PrivpipeError(
            f"{method} with k = {k} at {size} pixels has systems of {unknowns:,} coefficients; at most "
            f"{MAX_UNKNOWNS:,} are solved. Use a smaller perturb.k."
        )
    return SOLVERS[method](pairs, k, sigma)


def solve_scramble(pairs: Pairs, k: int, sigma: float) -> Solved:
    """Permutations int32 (blocks, k*k)."""
    # The squared differences of an assignment are a constant less twice the products. Whole numbers: exact in float64.
    before, after = (_rows(levels_of_grey(images), k) for images in (pairs.originals, pairs.perturbed))
    gains = after.swapaxes(1, 2) @ before
    permutations = np.stack([linear_sum_assignment(gain, maximize=True)[1] for gain in gains]).astype(np.int32)
    explained = (np.take_along_axis(before, permutations[:, None], axis=2) == after).all(axis=(1, 2))
    # A block of g different pixels settles g - 1: no permutation tells equal ones apart.
    settled = np.array([len(np.unique(block.T, axis=0)) - 1 for block in before])
    return Solved(permutations, float((settled * explained).sum() / max(1, settled.size * (k * k - 1))))


def solve_mix(pairs: Pairs, k: int, sigma: float) -> Solved:
    """Matrices float32 (blocks, k*k, k*k)."""
    n = k * k
    noise = _rounding(pairs.perturbed)
    before, after = _rows(_units(pairs.originals), k), _rows(_units(pairs.perturbed), k)
    equations = _Equations.of(before, after, _folds(pairs))
    columns, covariances = equations.solve(noise, 1 / n)
    left = equations.held_out(noise, 1 / n)
    left_by_means = equations.of_means().held_out(noise, 1.0)
    return Solved(np.asarray(columns.swapaxes(1, 2), np.float32), _progress(left_by_means, left, noise), covariances)


def solve_filter(pairs: Pairs, k: int, sigma: float) -> Solved:
    """Weights float64 (k, k)."""
    noise = _rounding(pairs.perturbed)
    folds = _folds(pairs).reshape(len(pairs.originals), -1)
    pixels, number = pairs.originals[0, :, :, 0].size, int(folds.max()) + 1
    equations = reduce(
        add,
        (
            _Equations.of(
                _patches(_units(original), k), _units(perturbed).reshape(1, -1, 1), np.tile(fold, pixels), number
            )
            for original, perturbed, fold in zip(pairs.originals, pairs.perturbed, folds, strict=True)
        ),
    )
    weights, _ = equations.solve(noise, 1.0)
    left = equations.held_out(noise, 1.0)
    return Solved(weights.reshape(k, k), min(1.0, noise / max(left, noise)))


def solve_noise(pairs: Pairs, k: int, sigma: float) -> Solved:
    """The field float32 (H, W, C), in levels of 0..255."""
    differences = levels_of_grey(pairs.perturbed).astype(np.float64) - pairs.originals
    field = differences.mean(axis=0)
    if len(differences) > 1:
        expected, left = _rounding(pairs.perturbed) * WHITE**2, float(differences.var(axis=0, ddof=1).mean())
        confidence = min(1.0, expected / max(left, expected))
    else:
        power = float((field**2).mean())
        confidence = min(power, sigma**2) / max(power, sigma**2, SMALLEST_NOISE)
    return Solved(field.astype(np.float32), confidence)


SOLVERS: dict[str, Callable[[Pairs, int, float], Solved]] = {
    "block_scramble": solve_scramble,
    "block_mix": solve_mix,
    "random_filter": solve_filter,
    "gaussian_noise": solve_noise,
    "correlated_noise": solve_noise,
}


@dataclass(frozen=True)
class _Equations:
    """Sums over linear equations y = w · x, for `systems` that are solved apart, in folds for cross-validation.

    Args:
        squares: sums of x xᵀ, (folds, systems, n, n).
        products: sums of x yᵀ, (folds, systems, n, right-hand sides).
        energies: sums of y², (folds, systems).
        counts: values of y, (folds,).
    """

    squares: Doubles
    products: Doubles
    energies: Doubles
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, x: Doubles, y: Doubles, fold_of_each: NDArray[np.int64], folds: int | None = None) -> "_Equations":
        """From x (systems, equations, n) and y (systems, equations, right-hand sides)."""
        parts = [fold_of_each == fold for fold in range(folds or int(fold_of_each.max()) + 1)]
        return cls(
            np.stack([x[:, rows].swapaxes(1, 2) @ x[:, rows] for rows in parts]),
            np.stack([x[:, rows].swapaxes(1, 2) @ y[:, rows] for rows in parts]),
            np.stack([(y[:, rows] ** 2).sum(axis=(1, 2)) for rows in parts]),
            np.array([y[:, rows].size for rows in parts]),
        )

    def __add__(self, other: "_Equations") -> "_Equations":
        return _Equations(
            self.squares + other.squares,
            self.products + other.products,
            self.energies + other.energies,
            self.counts + other.counts,
        )

    def of_means(self) -> "_Equations":
        """The same with the mean of x as the only unknown's factor."""
        return _Equations(
            self.squares.mean(axis=(2, 3), keepdims=True),
            self.products.mean(axis=2, keepdims=True),
            self.energies,
            self.counts,
        )

    def solve(self, noise: float, prior: float) -> tuple[Doubles, Doubles]:
        """The most probable weights (systems, n, right-hand sides), and their covariance (systems, n, n).

        Args:
            noise: variance of the errors of y.
            prior: variance of the weights before anything is known.
        """
        return _ridge(self.squares.sum(axis=0), self.products.sum(axis=0), noise, prior)

    def held_out(self, noise: float, prior: float) -> float:
        """Mean squared error of y in each fold, with the weights of the other folds."""
        squares, products = self.squares.sum(axis=0), self.products.sum(axis=0)
        left = 0.0
        for own_squares, own_products, energy in zip(self.squares, self.products, self.energies, strict=True):
            weights, _ = _ridge(squares - own_squares, products - own_products, noise, prior)
            left += float(energy.sum() - 2 * (weights * own_products).sum() + (weights * (own_squares @ weights)).sum())
        return max(0.0, left) / int(self.counts.sum())


def _progress(first: float, now: float, last: float) -> float:
    """How far an error has come from `first` to `last`, on a logarithmic scale, within 0..1."""
    if first <= max(now, last):
        return 0.0
    return min(1.0, float(np.log(first / max(now, last)) / np.log(first / last)))


def _ridge(squares: Doubles, products: Doubles, noise: float, prior: float) -> tuple[Doubles, Doubles]:
    inverse = np.linalg.inv(squares + noise / prior * np.eye(squares.shape[-1]))
    return np.asarray(inverse @ products), np.asarray(noise * inverse)


def _folds(pairs: Pairs) -> NDArray[np.int64]:
    """The fold of each pair and colour, (m * C,): pairs in turn; of a single pair, the colours."""
    count, channels = len(pairs.originals), pairs.originals.shape[3]
    if count == 1:
        return np.arange(channels)
    return np.repeat(np.arange(count) % MAX_FOLDS, channels)


def _rows(images: Array, k: int) -> Doubles:
    """Images (m, H, W, C) as equations: (blocks, m * C, k*k)."""
    blocks = to_blocks(images, k).transpose(1, 0, 3, 2)
    return np.ascontiguousarray(blocks.reshape(len(blocks), -1, k * k), dtype=np.float64)


def _patches(image: Doubles, k: int) -> Doubles:
    """The k×k surroundings of each pixel and colour of (H, W, C), borders as OpenCV reflects them: (1, H*W*C, k*k)."""
    radius = k // 2
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    return sliding_window_view(padded, (k, k), axis=(0, 1)).reshape(1, -1, k * k)


def _units(images: Array) -> Doubles:
    """Stored images as float64 in units where white is 1."""
    return images.astype(np.float64) / (WHITE if images.dtype == np.uint8 else 1.0)


def _rounding(perturbed: Array) -> float:
    """Mean variance of the error of rounding to the stored type, in units where white is 1."""
    if perturbed.dtype == np.uint8:
        return 1 / 12 / WHITE**2
    return max(float((np.spacing(np.abs(perturbed)).astype(np.float64) ** 2).mean()) / 12, SMALLEST_NOISE)


def _undo(loot: Loot, found: Solved) -> Floats:
    """The targets without the perturbation, float32 (T, H, W, C) in levels of 0..255."""
    if loot.method == "block_scramble":
        return undo(levels_of_grey(loot.targets), loot.k, found.key)
    if loot.method in ("gaussian_noise", "correlated_noise"):
        return np.clip(levels_of_grey(loot.targets) - found.key, 0, np.float32(WHITE))
    size, channels = loot.image_size, loot.channels
    prior = Prior.known(loot.public, size, channels)
    if found.covariances is None:
        return restore(loot.targets, loot.method, loot.k, found.key, loot.sigma, prior)
    # Errors of the key act as noise: x has the prior's second moments, so x · (error of a row of W) has this variance.
    places = to_blocks(np.arange(size * size).reshape(1, size, size, 1), loot.k)[0, :, :, 0]
    means = prior.mean.reshape(-1, channels)[places]
    power = means @ means.swapaxes(1, 2)
    power += prior.covariances.sum(axis=0)[places[:, :, None], places[:, None, :]]
    noise = np.empty(size * size)
    noise[places] = (found.covariances * power).sum(axis=(1, 2))[:, None] / channels
    noise += _rounding(loot.targets) * WHITE**2
    levels = levels_of_grey(loot.targets)
    observed = levels.reshape(len(levels), -1, channels)
    return estimate(observed, operator(loot.method, loot.k, found.key, size), np.diag(noise), prior)
