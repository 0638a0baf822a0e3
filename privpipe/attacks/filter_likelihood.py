"""Find the secret kernel of a random filter that all images share, and restore images with it.

    from privpipe.attacks.filter_likelihood import attack
    recovered = attack(stolen, k=5, public=public, seed=0)

What it assumes: `random_filter` under `scope: dataset`, with a k that the file's header tells, and public images of the
same kind (level L1). No key and no known pair.

A patch of p×p pixels of a filtered image is y = K x, where x is the patch of the image that is k - 1 pixels wider and K
holds the kernel w in each row. Averaged over the same positions, the covariances are C(w) = K Σ Kᵀ exactly, Σ from
public images. Patches that need pixels beyond the border are left out. Colours are principal components, from
public images, which are nearly independent of each other: each adds its own evidence on the one kernel.

1.  **The spectrum.** If Σ depended on differences of positions only, C would be linear in the autocorrelation a of the
    kernel. Weighted least squares, whitened by the covariance S of stolen patches, give a and its precision matrix.
2.  **The phases.** The kernel with this autocorrelation is sought from many random starts (`kernel_phases.py`). What
    the autocorrelation leaves open is the sign and whether the kernel is turned by 180 degrees.
3.  **The likelihood.** tr(C⁻¹ S) + log det C, summed over colours, is minimised from there: the Gaussian log-likelihood
    of the patches, without the approximation of step 1.
4.  **The turn.** Turning the kernel shifts phases of the restored image, which blurs edges into ripples. Edges are
    what makes derivatives of natural images sparse, so the kernel is right whose restoration of the stolen images has
    the sparser derivatives (the idea of minimum entropy deconvolution, Wiggins, Geoexploration 16 (1978)).
5.  **The sign.** The mean of the stolen images is the filtered mean of images: of w and -w the one is taken that
    explains it better; then its sum is adjusted so that it does so best.

The combination is our own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtr

from privpipe.attacks.base import AdversaryView, Attack, Budget, Outcome
from privpipe.attacks.filter_restoration import restore_filtered
from privpipe.attacks.kernel_phases import centred, kernel_from_autocorrelation, lags, turned
from privpipe.attacks.patches import CHUNK, Model, Windows, colour_basis, cut_windows, middle_of, whitener_of
from privpipe.attacks.restoration import Prior
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.random_filter import RandomFilter
from privpipe.perturb.values import Doubles, Floats, rounding_variance

MIN_IMAGES = 100
MAX_SIDE = 64
MAX_K = 7  # larger kernels were not tried: starts that end in the right one get rare, and time grows with k^10
TURN_IMAGES = 2000  # that are restored to find the turn
TOLERANCE = 0.05  # relative error of the spectrum at which confidence has fallen to 1/e


class FilterLikelihood(Attack):
    """`attack`, then the best linear estimate of the targets under a prior from the public images.

    Args:
        seed: of the random starts of the search.
    """

    name = "filter_likelihood"
    levels = ("L1",)
    seeks_key = True
    order = 40

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @classmethod
    def within(cls, budget: Budget) -> Attack | None:
        return cls(budget.seed)

    def applies(self, method: Perturbation) -> bool:
        return isinstance(method, RandomFilter) and method.scope == "dataset"

    def run(self, view: AdversaryView) -> Outcome:
        if view.public is None:
            raise PrivpipeError(f"{self.name} needs public images; got none. Run it at level L1.")
        recovered = attack(view.stolen, view.k, view.public, self.seed)
        images = restore_filtered(
            view.targets,
            recovered.weights,
            recovered.weight_error,
            Prior.known(view.public, view.transformation, view.channels),
        )
        return Outcome(images, recovered.confidence, recovered.weights)


@dataclass(frozen=True)
class Recovered:
    """What the attack believes the kernel to be, and how far it can be believed.

    Args:
        weights: float64 (k, k), as `RandomFilter.weights`.
        agreement: 0..1, cosine between the kernels found from either half of the stolen images, by searches from
            different starts. The sign and the turn are left out of it.
        spectrum: 0..1, how well the kernel explains the covariances: 1 where up to sampling errors, 1/e where the root
            mean square relative error beyond those, over all directions and colours, is `TOLERANCE`.
        mean: 0..1, fraction of the mean stolen image that the kernel explains, up to sampling errors.
        turn: 0..1, how sure it is which way round the kernel is: 0 where either way is as good.
    """

    weights: Doubles
    agreement: float
    spectrum: float
    mean: float
    turn: float

    @property
    def weight_error(self) -> float:
        """Variance of the error of each weight: a quarter of that of the difference between the halves' kernels."""
        return float((self.weights**2).mean()) * (1 - self.agreement**2) / 4

    @property
    def confidence(self) -> float:
        """0..1: the product of the three measures and, where the kernel and its turned self differ, of `turn`."""
        same = max(0.0, _cosine(self.weights, turned(self.weights)))
        return self.agreement * self.spectrum * self.mean * (same + (1 - same) * self.turn)


def attack(stolen: NDArray[np.float16], k: int, public: Images, seed: int = 0) -> Recovered:
    """Recover the kernel of a random filter with `scope: dataset`.

    The result depends on nothing but the arguments. Memory is about ten arrays (C, 1024, 1024), whatever N. A k larger
    than the true one finds the true kernel with noise around it.

    Args:
        stolen: filtered images in units where white is 1, float16 (N, H, W, C), N at least 100.
        k: the size of the kernel, odd, up to 7; half an image's side or less.
        public: unfiltered images of other images, uint8 (M, H, W, C), M at least 100.
        seed: of the random starts.

    Raises:
        PrivpipeError: an array is not as described, or k does not fit.
    """
    _check_arguments(stolen, k, public)
    basis = colour_basis(public)
    unfiltered = Windows.of(public, basis, middle_of(public) @ basis)
    halves = [Windows.of(stolen[first::2], basis, middle_of(stolen) @ basis) for first in (0, 1)]
    noise = rounding_variance(stolen[:CHUNK])
    of_halves = [
        _search(Model.of(unfiltered, half, k, noise), np.random.default_rng([seed, number]))
        for number, half in enumerate(halves)
    ]
    model = Model.of(unfiltered, halves[0] + halves[1], k, noise)
    weights = _most_likely(model, of_halves)
    luminance = cut_windows(stolen[:TURN_IMAGES]) @ basis[:, -1].astype(np.float32)
    weights, turn = _choose_turn(model, weights, luminance)
    weights, mean = _choose_sign(model, weights)
    spectrum = _explained(model, weights, halves, len(stolen) / len(public))
    return Recovered(weights, _agreement(*of_halves), spectrum, mean, turn)


def _check_arguments(stolen: Array, k: int, public: Array) -> None:
    """Raises PrivpipeError where an array is not as `attack` says, or k does not fit."""
    _check(stolen, np.dtype(np.float16), "stolen")
    _check(public, np.dtype(np.uint8), "public")
    if public.shape[1:] != stolen.shape[1:]:
        raise PrivpipeError(
            f"public images must have the shape of the stolen ones, {stolen.shape[1:]}; got {public.shape[1:]}. "
            "Resize or convert them."
        )
    largest = min(MAX_K, (min(stolen.shape[1:3]) - 1) // 2)
    if k < 1 or k > largest or k % 2 == 0:
        raise PrivpipeError(
            f"k must be odd and up to {largest} for images of {stolen.shape[1]}x{stolen.shape[2]} pixels; got {k}. "
            "Larger kernels need larger images, and beyond 7 the search finds them too rarely."
        )


def _autocorrelation(model: Model) -> tuple[Doubles, Doubles]:
    """Step 1: the kernel's autocorrelation (L,), numbered as by `lags`, and its precision matrix (L, L)."""
    places, values = lags(model.k), model.filtered.shape[1]
    count = int(places.max()) + 1
    precision, moments = np.zeros((count, count)), np.zeros(count)
    for before, whitener in zip(model.unfiltered, whitener_of(model.filtered), strict=True):
        parts = np.zeros((count, values, values))
        for (i, j), lag in np.ndenumerate(places):
            parts[lag] += before[model.taps[:, i][:, None], model.taps[:, j]]
        parts /= np.bincount(places.ravel())[:, None, None]
        rows = (whitener @ parts @ whitener.T).reshape(count, -1)
        precision += rows @ rows.T
        moments += rows @ (np.eye(values) - 2 * model.noise * whitener @ whitener.T).ravel()
    precision += 1e-12 * np.trace(precision) * np.eye(count)
    return np.asarray(np.linalg.solve(precision, moments), np.float64), precision


def _search(model: Model, rng: np.random.Generator) -> Doubles:
    """Steps 1 and 2: a kernel (k, k) whose sign and turn mean nothing."""
    values, precision = _autocorrelation(model)
    return kernel_from_autocorrelation(values, precision, model.k, rng)


def _agreement(one: Doubles, other: Doubles) -> float:
    """`Recovered.agreement` of two kernels."""
    return max(abs(_cosine(one, either)) for either in (other, turned(other)))


def _most_likely(model: Model, starts: list[Doubles]) -> Doubles:
    """Step 3: the best kernel near any of `starts`."""
    polished = [_polish(model, start) for start in starts]
    return centred(min(polished, key=lambda kernel: model.cost_and_gradient(kernel)[0]))


def _polish(model: Model, start: Doubles) -> Doubles:
    """Step 3: the kernel (k, k) of the largest likelihood near `start`."""
    limits = {"maxiter": 200, "gtol": 1e-9, "ftol": 1e-13}
    optimum = minimize(model.cost_and_gradient, start.ravel(), jac=True, method="L-BFGS-B", options=limits)
    return np.asarray(optimum.x.reshape(start.shape))


def _choose_turn(model: Model, weights: Doubles, images: Floats) -> tuple[Doubles, float]:
    """Step 4: `weights` or the same turned, and how sure that is, 0..1; `images` is luminance (n, side, side).

    Sparsity is E|g| over the root of E g², g the derivatives; its sampling error comes from the differences between
    images, to which a ratio of means is linear in the first order.
    """
    # Estimates are of deviations from the mean. Brightness that an estimator lets through passes for sparsity.
    images = images - images.mean(axis=0)
    options = (weights, turned(weights))
    logs, influences = zip(*(_sparsity(model, option, images) for option in options), strict=True)
    difference, spread = logs[1] - logs[0], (influences[1] - influences[0]).std()
    deviation = abs(difference) / (spread / np.sqrt(len(images)) + 1e-9)
    return options[int(difference < 0)], float(2 * ndtr(deviation) - 1)


def _sparsity(model: Model, weights: Doubles, images: Floats) -> tuple[float, Doubles]:
    """Log of E|g| / sqrt(E g²), small where derivatives are sparse, and what each image adds to it (n,)."""
    from scipy.signal import oaconvolve  # here: it takes a second to import, and every attack imports this module

    matrix, q = model.matrix(weights), int(np.sqrt(model.unfiltered.shape[1]))
    p, middle = q - model.k + 1, q // 2
    sparsity, influence = 0.0, np.zeros(len(images))
    inverse = np.linalg.inv(model.covariances(weights)[-1])
    for y, x in ((0, 1), (1, 0)):
        derivative = np.zeros((q, q))
        derivative[middle, middle], derivative[middle + y - 1, middle + x - 1] = 1, -1
        # The linear estimate of least mean square error of the derivative from the filtered patch around it.
        estimator = (inverse @ matrix @ model.unfiltered[-1] @ derivative.ravel()).reshape(p, p).astype(np.float32)
        restored = oaconvolve(images, estimator[None, ::-1, ::-1], mode="valid", axes=(1, 2))
        # Black images have no derivatives at all.
        size = np.abs(restored).mean(axis=(1, 2), dtype=np.float64) + 1e-30
        power = (restored**2).mean(axis=(1, 2), dtype=np.float64) + 1e-60
        sparsity += float(np.log(size.mean()) - np.log(power.mean()) / 2)
        influence += size / size.mean() - power / power.mean() / 2
    return sparsity, influence


def _choose_sign(model: Model, weights: Doubles) -> tuple[Doubles, float]:
    """Step 5: `weights` or its negative, and the fraction of the mean stolen image that it explains, 0..1."""
    inverse = np.linalg.inv(model.covariances(weights))
    predicted = model.unfiltered_mean @ model.matrix(weights).T

    def energy(means: Doubles) -> float:
        return float(((means @ inverse) * means).sum())

    left = {sign: energy(model.filtered_mean - sign * predicted) for sign in (1, -1)}
    sign = min(left, key=lambda option: left[option])
    whole = energy(model.filtered_mean)
    unexplained = max(0.0, left[sign] - model.mean_error * predicted.size)
    # The same added to all weights, so that the mean is met as well as it can be: restoring the brightness depends on
    # the sum of the weights, relative to which its error is large where weights of both signs nearly cancel.
    flat = model.unfiltered_mean @ model.matrix(np.ones_like(weights)).T
    projection = flat @ inverse
    shift = ((model.filtered_mean - sign * predicted) * projection).sum() / max((flat * projection).sum(), 1e-30)
    return sign * weights + shift, max(0.0, 1 - unexplained / whole) if whole > 0 else 0.0


def _explained(model: Model, weights: Doubles, halves: list[Windows], stolen_per_public: float) -> float:
    """`Recovered.spectrum`. The squared sampling error is that of the halves' mean, a quarter of their difference's,
    and as much again from the public images, in proportion to their number."""
    side = int(np.sqrt(model.filtered.shape[1]))
    one, other = (half.patches(side, model.k // 2)[0] for half in halves)
    sampling = model.relative(one - other) / 4 * (1 + stolen_per_public)
    excess = model.relative(model.covariances(weights) - model.filtered) - sampling
    return float(np.exp(-max(0.0, excess) / TOLERANCE**2))


def _cosine(one: Doubles, other: Doubles) -> float:
    return float((one * other).sum() / max(np.sqrt((one**2).sum() * (other**2).sum()), np.finfo(np.float64).tiny))


def _check(images: Array, dtype: np.dtype[Any], what: str) -> None:
    """Raises PrivpipeError where `images` is no such set."""
    if images.dtype != dtype or images.ndim != 4 or len(images) < MIN_IMAGES or images.size == 0:
        raise PrivpipeError(
            f"{what} images must be {dtype} (N, H, W, C) with N at least {MIN_IMAGES}; got {images.dtype} "
            f"{images.shape}. Pass stolen images as random_filter writes them, and public ones unfiltered."
        )
    if not np.isfinite(images).all():
        raise PrivpipeError(f"{what} images must be finite; some values are not. Leave out the images that hold them.")
    if max(images.shape[1:3]) > MAX_SIDE:
        raise PrivpipeError(
            f"{what} images may have {MAX_SIDE}x{MAX_SIDE} pixels, since time grows with them; got "
            f"{images.shape[1]}x{images.shape[2]}. Cut all of them to their middle."
        )
