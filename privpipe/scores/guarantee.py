"""What a theorem guarantees about a perturbed image, whatever the attack: local differential privacy.

    python -m privpipe.scores.guarantee

prints the table for 32×32 pixels. A mechanism M is (epsilon, delta)-differentially private if for all neighbouring
inputs x, x' and all sets S of outputs P(M(x) in S) <= exp(epsilon)·P(M(x') in S) + delta. Two kinds of neighbours:

- pixel: two images that differ in one pixel, in all its colours, by up to 255 levels in each;
- image: any two images, which is local differential privacy (Kasiviswanathan et al., "What can we learn privately?",
  SIAM Journal on Computing, 2011).

Only noise that is fresh for each image has such a guarantee. Methods that have a pure epsilon (delta 0) by definition
say so themselves (`Perturbation.epsilons`). That of Gaussian noise, with d the difference of two inputs and N the
covariance of the noise, depends on mu = sqrt(dᵀ N⁻¹ d) alone, as `privpipe.statistics.accounting` says. A regular N
other than a multiple of the identity reduces to it by whitening, a bijection of the outputs.

That is about the normal law. The values drawn (`KeyStream.fields`) end at 6.12 sigma, as numbers of a computer must end
somewhere: an output that x' cannot give rules x' out. Near the end they lie so far apart that many outputs between
them are such, too. So delta grows by up to the sum, over the values that differ, of P(N > 5.3 - difference/sigma), and
a delta of 1 promises nothing. For one pixel in three colours that is 9e-3 at sigma 100, 9e-5 at 200 and 1.6e-6 at 600,
a few times of what a count of all draws gives. The statement says how much it is.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from privpipe.perturb import Perturbation, perturbation_called
from privpipe.perturb.keystream import NOISE_DENSE
from privpipe.perturb.settings import Settings
from privpipe.statistics.accounting import DELTA, check_delta, epsilon_of

WHITE = 255.0
# The noise is kept in float32. Patterns on which it is weaker than this part of its strongest carry rounding errors
# rather than noise, and no guarantee is claimed.
REGULAR = 2.0**-24

DETERMINISTIC = (
    "No guarantee: the result is a function of the image and of one key that stays the same or is drawn without "
    "regard to privacy; nothing limits what it tells of a pixel."
)
SHARED = "No guarantee: all images carry the same noise, so the difference of two perturbed images is exact."
SILENT = "No guarantee: sigma is 0, so there is no noise."
SINGULAR = (
    "No guarantee: smoothing leaves patterns on which there is next to no noise, so the covariance of the noise has no "
    "inverse to rely on."
)
LOCAL = (
    "({pixel:,.4g}, {delta:g})-differentially private for a change of one pixel, ({image:,.4g}, {delta:g})-locally "
    "differentially private for a whole image{bound}. It holds for each release of an image on its own; releases add "
    "up. Rounding to float16 is post-processing. The noise is a pseudo-random stream of the key, so the guarantee is "
    "computational. Its values are sparse beyond 5.3 sigma and end at 6.1, so that up to {pixel_end:.2g} must be added "
    "to the delta of a pixel, and {image_end:.2g} to that of an image; with 1 nothing is promised."
)
PURE = (
    "{pixel:,.4g}-differentially private for a change of one pixel in all its colours, {image:,.4g}-locally "
    "differentially private for a whole image. It holds for each release of an image on its own; releases add up. "
    "Rounding and clipping are post-processing. The noise is a pseudo-random stream of the key, so the guarantee is "
    "computational."
)


@dataclass(frozen=True)
class Guarantee:
    """What is guaranteed.

    Args:
        epsilon_pixel, epsilon_image: of (epsilon, delta)-differential privacy for the two kinds of neighbours of the
            module's description; None where there is no guarantee. For correlated noise, `epsilon_image` is an upper
            bound.
        delta: 0..1.
        statement: the same in words.
    """

    epsilon_pixel: float | None
    epsilon_image: float | None
    delta: float
    statement: str


def guarantee(
    method: str,
    image_size: int,
    channels: int,
    k: int,
    scope: str,
    sigma: float,
    delta: float = DELTA,
    settings: Settings | None = None,
) -> Guarantee:
    """The formal guarantee of a transformation, as `privpipe.parameters.Perturb` describes it.

    Args:
        settings: those that the method has of its own.

    Raises:
        PrivpipeError: no such method, or delta is not between 0 and 1.
    """
    check_delta(delta)
    perturbation = perturbation_called(method)(image_size, k, scope, sigma, None, **(settings or {}))
    pure = perturbation.epsilons(channels)
    if pure is not None:
        if scope == "dataset":
            return Guarantee(None, None, delta, SHARED)
        return Guarantee(*pure, 0.0, PURE.format(pixel=pure[0], image=pure[1]))
    mus = distances(perturbation, channels)
    if isinstance(mus, str):
        return Guarantee(None, None, delta, mus)
    pixel, image = (epsilon_of(mu, delta) for mu in mus)
    row = perturbation.noise_row()
    bound = " (an upper bound)" if row is not None and len(row) > 1 else ""
    ends = ends_of_noise(perturbation, channels, mus)
    statement = LOCAL.format(pixel=pixel, image=image, delta=delta, bound=bound, pixel_end=ends[0], image_end=ends[1])
    return Guarantee(pixel, image, delta, statement)


def ends_of_noise(method: Perturbation, channels: int, mus: tuple[float, float]) -> tuple[float, float]:
    """What it adds to delta at most that noise is sparse and ends, for both of `distances`."""
    values, row = method.image_size**2 * channels, method.noise_row()
    if row is not None and len(row) > 1:  # smoothed: each value drawn may have to make up for all of the difference
        return beyond_the_end(mus[0], values), beyond_the_end(mus[1], values)
    return beyond_the_end(WHITE / method.sigma, channels), beyond_the_end(WHITE / method.sigma, values)


def beyond_the_end(shift: float, values: int) -> float:
    """The same of so many values of noise, for a difference of `shift` deviations."""
    return 1.0 if shift >= NOISE_DENSE else min(1.0, values * float(ndtr(shift - NOISE_DENSE)))


def distances(method: Perturbation, channels: int) -> tuple[float, float] | str:
    """mu of the module's description, of two images that differ in one pixel and (a bound) of any two.

    Returns:
        Both, or in words why there is no guarantee.
    """
    row = method.noise_row()
    if row is None:
        return DETERMINISTIC
    if method.scope == "dataset":
        return SHARED
    if method.sigma == 0:
        return SILENT
    factors = _inverse_roots(method.image_size, row)
    if factors is None:
        return SINGULAR
    pixel, image = factors[0] * np.sqrt(channels), factors[1] * method.image_size * np.sqrt(channels)
    return float(pixel * WHITE / method.sigma), float(image * WHITE / method.sigma)


def _inverse_roots(image_size: int, row: NDArray[np.float64]) -> tuple[float, float] | None:
    """How much larger sqrt(dᵀ N⁻¹ d) can be than |d| / sigma: for one pixel, and (a bound) for any d.

    The noise is sigma/r · (A ⊗ A) times white noise, A the smoothing of one axis with its reflected borders and r the
    sum of the squared weights of a row. So N⁻¹ = (r/sigma)²·(B ⊗ B) with B = (A Aᵀ)⁻¹: the largest diagonal entry and
    the largest eigenvalue are squares of those of B. None where A is singular.

    Args:
        row: of `Perturbation.noise_row`, (k,).
    """
    smoothing = cv2.sepFilter2D(np.eye(image_size), cv2.CV_64F, np.ones((1, 1)), row)
    vectors, values, _ = np.linalg.svd(smoothing)
    if (values[-1] / values[0]) ** 2 < REGULAR:  # squared: two axes
        return None
    diagonal: NDArray[np.float64] = (vectors**2 / values**2).sum(axis=1)
    scale = float((row**2).sum())
    return scale * float(diagonal.max()), scale / float(values[-1] ** 2)


def table(image_size: int = 32, channels: int = 3, delta: float = DELTA) -> str:
    """Markdown: the epsilons of some strengths of noise, `scope: image`."""
    lines = ["| method | k | sigma | epsilon, one pixel | epsilon, whole image |", "|---|---|---|---|---|"]
    for method, k in (("gaussian_noise", 1), ("correlated_noise", 3), ("correlated_noise", 5)):
        for sigma in (10.0, 25.0, 50.0, 100.0):
            promised = guarantee(method, image_size, channels, k, "image", sigma, delta)
            pixel, image = (
                "none" if value is None else f"{value:,.1f}"
                for value in (promised.epsilon_pixel, promised.epsilon_image)
            )
            lines.append(f"| {method} | {k if k > 1 else ''} | {sigma:g} | {pixel} | {image} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
