"""Find the key that all images share from known pairs of an original and its perturbed image (level L2).

    from privpipe.attacks.known_plaintext import solve
    solved = solve(pairs, BlockScramble(32, k=4))

What it assumes: a keyed method under `scope: dataset` with known settings, and m pairs; a pair is an original that
reached the adversary some other way. Each method says which equations its key solves
(`Perturbation.key_equations`); for example:

- block_scramble: which pixel went where. Linear assignment in each block with the least sum of squared differences over
  pairs and colours. Pixels of a block that are equal in all pairs cannot be told apart, and need not be.
- block_mix: y = W x, 3m equations for each row of W, which has k*k weights. Where they are too few, the most
  probable W is taken: weights are N(0, 1/k²) beforehand, and the noise is the rounding to float16. That is ridge
  regression with known variances (Bayesian linear regression: Bishop, Pattern Recognition and Machine Learning, 3.3).
- learnable_encryption: the same for nibbles, each compared as it is and reversed; extended_learnable_encryption begins
  with which block went where, by the nibbles of a block without their order and signs.
- format_preserving: a place where nothing changes is not encrypted; where values change, which became which is counted.
- ldp_slicing: a bit is flipped where it is in most pairs; pixels that were cut to 0..255 count where all were.
- random_filter: the same for the k*k weights of the filter, N(0, 1) beforehand; every pixel and colour is an equation.
- gaussian_noise, correlated_noise, dp_pix: the mean difference is the field, exact up to rounding. What was cut to
  0..255 is left out; where all was, the largest difference bounds the noise.

Attacks with known pairs are as old as cryptanalysis; linear algebra makes one of every linear cipher.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from xxhash import xxh3_128

from privpipe.attacks.base import AdversaryView, Attack, Outcome, Pairs
from privpipe.attacks.restoration import Prior, restore
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array
from privpipe.perturb.equations import Added, Flipped, Linear, Nested, Permuted, Substituted
from privpipe.perturb.values import Doubles, Floats, pixel_values, rounding_variance

WHITE = 255.0
MAX_FOLDS = 10  # of cross-validation
MAX_UNKNOWNS = 1 << 26  # coefficients of the systems to solve: 512 MB in float64
CHUNK_VALUES = 1 << 22  # values of pairs turned to float64 at a time: 32 MB
SMALLEST_NOISE = 1e-12  # variance in units where white is 1; keeps systems regular where nothing was rounded


@dataclass(frozen=True)
class Solved:
    """The key that explains the pairs best.

    Args:
        key: in the form of `Perturbation.dataset_key` of the method.
        confidence: 0..1, how far it can be believed: whether the key of some pairs (of a single pair: of some of its
            colours) explains the others; see `solve`.
        covariances: of the errors of the weights of linear equations, (systems, n, n); else None.
    """

    key: Array
    confidence: float
    covariances: Doubles | None = None


class KnownPlaintext(Attack):
    """`solve`, then what the key makes of the targets: the exact inverse, or the best linear estimate."""

    name = "known_plaintext"
    levels = ("L2",)
    seeks_key = True
    order = 90

    def applies(self, method: Perturbation) -> bool:
        return method.keyed and method.scope == "dataset" and method.pairs_attack == self.name

    def run(self, view: AdversaryView) -> Outcome:
        if view.pairs is None:
            raise PrivpipeError(f"{self.name} needs known pairs; got none. Run it at level L2.")
        solved = solve(view.pairs, view.transformation)
        return Outcome(_restored(view, solved), solved.confidence, solved.key)


def _restored(view: AdversaryView, solved: Solved) -> Floats:
    """The targets without the perturbation."""
    method = view.transformation
    if method.undone_by_key:
        return np.clip(method.invert(view.targets, solved.key), 0, np.float32(WHITE)).astype(np.float32)
    prior = Prior.known(view.public, method, view.channels)
    small = replace(method, image_size=len(prior.mean))
    mean, covariance = prior.mean.reshape(-1, view.channels), prior.covariances.sum(axis=0)
    errors = solved.covariances

    def noise(blocks: NDArray[np.intp]) -> Doubles | None:
        assert errors is not None
        return small.key_error_noise(errors[blocks] if method.blocks else errors, mean, covariance)

    return restore(view.targets, method, solved.key, prior, None if errors is None else noise)


def solve(pairs: Pairs, method: Perturbation) -> Solved:
    """Find the key of a method with `scope: dataset`.

    How confidence is measured, by the kind of equations (`privpipe.perturb.equations`):

    - a permutation: a right key explains every item. It is the fraction of items, in all forms that the key may give
      them, that can be told apart and lie in systems that are explained exactly. Of nested permutations it is the
      product of both.
    - a substitution: the fraction of the 256 values that occur where it is applied and always became the same.
    - flipped bits: the fraction of pixels that at least two pairs tell without fail, and alike in all bits.
    - overdetermined linear equations, and noise that is added: what rounding leaves unexplained, over what is left
      unexplained of each pair by the key of the others. Of a single pair, noise has nothing else to be compared with
      than its strength, `sigma`. Of noise the fraction counts that was not cut off in all pairs.
    - other linear equations: how far, in decibels, the key of the others goes in explaining each pair, from what the
      means explain (0) to all but the rounding (1).

    The key of one image (`scope: image`) explains its pair as well as a key of all would: only a second pair tells.

    Args:
        pairs: m at least 1.
        method: the transformation; its own key is not used.

    Raises:
        PrivpipeError: the method has no key to find or does not say which equations it solves, or the pairs are not as
            described.
    """
    if not method.keyed:
        raise PrivpipeError(f"{method.name} has no key to find in pairs. Name a method with a key.")
    _check(pairs, method)
    equations = method.key_equations()
    if isinstance(equations, Added):
        return _solve_field(pairs, equations, method)
    if isinstance(equations, Flipped):
        return _solve_flips(pairs, equations)
    if isinstance(equations, Substituted):
        return _solve_substitution(pairs, equations)
    if isinstance(equations, Nested):
        outer = _solve_permutation(pairs, equations.outer, method)
        moved = Pairs(equations.moved(pairs.originals, outer.key), pairs.perturbed)
        inner = _solve_permutation(moved, equations.inner, method)
        return Solved(equations.key(outer.key, inner.key), outer.confidence * inner.confidence)
    if isinstance(equations, Permuted):
        return _solve_permutation(pairs, equations, method)
    folds = MAX_FOLDS if equations.overdetermined else 1
    _check_unknowns(equations.systems * equations.n**2 * folds, method)
    return _solve_linear(pairs, equations)


def _check_unknowns(unknowns: int, method: Perturbation) -> None:
    if unknowns > MAX_UNKNOWNS:
        raise PrivpipeError(
            f"{method.name} with k = {method.k} at {method.image_size} pixels has systems of {unknowns:,} "
            f"coefficients; at most {MAX_UNKNOWNS:,} are solved. Use a smaller perturb.k."
        )


def _check(pairs: Pairs, method: Perturbation) -> None:
    originals, perturbed = pairs.originals, pairs.perturbed
    if originals.dtype != np.uint8 or originals.ndim != 4 or not originals.size or originals.shape != perturbed.shape:
        raise PrivpipeError(
            "pairs must be originals, uint8 (m, H, W, C) with m at least 1, and perturbed images of that shape; got "
            f"{originals.dtype} {originals.shape} and {perturbed.dtype} {perturbed.shape}."
        )
    size = method.image_size
    legal = method.legal_k(size)
    if originals.shape[1:3] != (size, size) or (legal is not None and method.k not in legal):
        raise PrivpipeError(
            f"images must be square and k of {method.name} one of {legal} for {size} pixels; got k = {method.k} and "
            f"{originals.shape[1]}x{originals.shape[2]}."
        )


def _solve_permutation(pairs: Pairs, equations: Permuted, method: Perturbation) -> Solved:
    # The squared differences of an assignment are a constant less twice the products. Whole numbers: exact in float64,
    # in whatever parts they are summed.
    gains: list[Doubles] = []  # of each form, (systems, n, n)
    powers: list[Doubles] = []  # likewise, (systems, n); where there is one form only, this is the constant
    for forms_of_part, after in _parts(pairs, equations):
        systems, _, n = after.shape
        _check_unknowns(systems * n**2, method)
        for form, rows in enumerate(forms_of_part):
            if form == len(gains):
                gains.append(np.zeros((systems, n, n)))
                powers.append(np.zeros((systems, n)))
            gains[form] += after.swapaxes(1, 2) @ rows
            powers[form] += (rows**2).sum(axis=1)
    best, chosen = gains[0], np.zeros(gains[0].shape, np.int32)
    for form in range(1, len(gains)):
        gain = gains[form] - ((powers[form] - powers[0]) / 2)[:, None]
        better = gain > best
        best, chosen = np.where(better, gain, best), np.where(better, np.int32(form), chosen)
    permutations = np.stack([linear_sum_assignment(gain, maximize=True)[1] for gain in best]).astype(np.int32)
    forms = np.take_along_axis(chosen, permutations[..., None], axis=2)[..., 0]
    explained, different = _explained(pairs, equations, permutations, forms)
    # A system of g different items, in all their forms, settles g - 1: no key tells equal ones apart.
    most = explained.size * len(gains) - len(explained)
    confidence = float(((different - 1) * explained.all(axis=1)).sum() / max(1, most))
    return Solved(equations.key(permutations, forms), confidence)


def _explained(
    pairs: Pairs, equations: Permuted, permutations: Array, forms: Array
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which items a key explains, (systems, n), and how many differ in each system, in all forms, (systems,)."""
    explained = np.ones(permutations.shape, bool)
    digests: list[list[xxh3_128]] = []  # of each form: of each item, over all parts
    for forms_of_part, after in _parts(pairs, equations):
        for form, rows in enumerate(forms_of_part):
            same = (np.take_along_axis(rows, permutations[:, None], axis=2) == after).all(axis=1)
            explained &= same | (forms != form)
            if form == len(digests):
                digests.append([xxh3_128() for _ in range(permutations.size)])
            items = np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(permutations.size, -1)
            for digest, item in zip(digests[form], items, strict=True):
                digest.update(item.data)
    n = permutations.shape[1]
    different = [
        len({digest.digest() for of_form in digests for digest in of_form[first : first + n]})
        for first in range(0, permutations.size, n)
    ]
    return explained, np.array(different)


def _parts(pairs: Pairs, equations: Permuted) -> Iterator[tuple[Iterable[Doubles], Doubles]]:
    """Items of originals in each of their forms, and of perturbed images, some pairs at a time."""
    step = max(1, CHUNK_VALUES // pairs.originals[0].size)
    for start in range(0, len(pairs.originals), step):
        rows = slice(start, start + step)
        originals, after = pixel_values(pairs.originals[rows]), equations.rows(pixel_values(pairs.perturbed[rows]))
        yield ((equations.rows(originals),) if equations.forms is None else equations.forms(originals)), after


def _solve_substitution(pairs: Pairs, equations: Substituted) -> Solved:
    before, after = (equations.values(images) for images in (pairs.originals, pairs.perturbed))
    places = (before != after).any(axis=1)
    together = np.bincount(256 * before[places].astype(np.intp).ravel() + after[places].ravel(), minlength=1 << 16)
    together = together.reshape(256, 256)
    table = linear_sum_assignment(together, maximize=True)[1].astype(np.uint8)
    kept = together[np.arange(256), table]
    explained = (kept > 0) & (kept == together.sum(axis=1))
    return Solved(equations.key(places, table), float(explained.mean()))


def _solve_linear(pairs: Pairs, linear: Linear) -> Solved:
    noise = rounding_variance(pairs.perturbed, least=SMALLEST_NOISE)
    equations = reduce(add, _equations(pairs, linear))
    weights, covariances = equations.solve(noise, linear.variance)
    left = equations.held_out(noise, linear.variance)
    if linear.overdetermined:
        return Solved(linear.key(weights), min(1.0, noise / max(left, noise)))
    left_by_means = equations.of_means().held_out(noise, 1.0)
    return Solved(linear.key(weights), _progress(left_by_means, left, noise), covariances)


def _equations(pairs: Pairs, linear: Linear) -> "Iterator[_Equations]":
    """Those of some pairs at a time, or of one where a pair has many."""
    folds = _folds(pairs).reshape(len(pairs.originals), -1)
    number = int(folds.max()) + 1
    step = 1 if linear.overdetermined else max(1, CHUNK_VALUES // pairs.originals[0].size)
    for first in range(0, len(folds), step):
        rows = slice(first, first + step)
        x, y = linear.x(_units(pairs.originals[rows])), linear.y(_units(pairs.perturbed[rows]))
        places = x.shape[1] // folds[rows].size  # equations of a pair and colour
        yield _Equations.of(x, y, np.concatenate([np.tile(fold, places) for fold in folds[rows]]), number)


def _solve_field(pairs: Pairs, equations: Added, method: Perturbation) -> Solved:
    seen, plain = (method.observations(pixel_values(images)) for images in (pairs.perturbed, pairs.originals))
    differences, sigma = seen.astype(np.float64), equations.sigma
    differences -= plain
    whole = (seen > 0) & (seen < WHITE) if method.exact else np.ones(seen.shape, bool)
    counts = whole.sum(axis=0)
    # Noise is at least as strong as any difference from what it made black or white.
    ends = np.where(seen[0] <= 0, differences.min(axis=0), differences.max(axis=0))
    field = np.where(counts > 0, differences.sum(axis=0, where=whole) / np.maximum(counts, 1), ends)
    if len(differences) > 1:
        expected = rounding_variance(pairs.perturbed, least=SMALLEST_NOISE) * WHITE**2 + equations.step**2 / 12
        differences -= field
        differences *= differences
        left = float(differences.sum(where=whole)) / max(1, int((counts - 1).clip(min=0).sum()))
        confidence = min(1.0, expected / max(left, expected))
    else:
        power = float((field**2).mean())
        confidence = min(power, sigma**2) / max(power, sigma**2, SMALLEST_NOISE)
    known = float((counts > 0).mean())
    return Solved(field.astype(np.float32).reshape(method.key_form(field.shape[1])), confidence * known)


def _solve_flips(pairs: Pairs, equations: Flipped) -> Solved:
    count, shape = len(pairs.originals), pairs.originals.shape[1:]
    flipped, flipped_exactly = np.zeros((2, *shape[:2], 8 * shape[2]), np.int64)
    exact = np.zeros((*shape[:2], 1), np.int64)
    step = max(1, CHUNK_VALUES // (8 * pairs.originals[0].size))
    for first in range(0, count, step):
        rows = slice(first, first + step)
        differ: Array = equations.before(pairs.originals[rows]) ^ equations.after(pairs.perturbed[rows])
        bits, whole = np.unpackbits(differ, axis=3), equations.exactly(pairs.perturbed[rows])[..., None]
        flipped += bits.sum(axis=0, dtype=np.int64)
        flipped_exactly += bits.sum(axis=0, dtype=np.int64, where=whole)
        exact += whole.sum(axis=0)
    key = np.packbits(np.where(exact > 0, 2 * flipped_exactly > exact, 2 * flipped > count), axis=2)
    explained = ((flipped_exactly == 0) | (flipped_exactly == exact)).all(axis=2) & (exact[..., 0] > 1)
    return Solved(key, float(explained.mean()))


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


def _units(images: Array) -> Doubles:
    """Stored images as float64 in units where white is 1."""
    return images.astype(np.float64) / (WHITE if images.dtype == np.uint8 else 1.0)
