"""Find the noise field that all images share, and take it off.

Under `scope: dataset` the mean of N perturbed images is the field plus the mean of N images (of images of cells, under
`dp_pix`). Where values were cut to 0..255, it is first moved to the mean of a Gaussian that comes out so when it is
cut. The mean image is known from public images (level L1), or known to be smooth (level L0), so the field is the linear
estimate of least mean square error from

    mean of the stolen images - expected mean image = field + error,

with the covariance of the noise, and for the error S/N of the stolen images' mean, S the covariance of images, and
S/M of the public images' mean or that of a smooth mean image. Components of colour are taken one by one, see
`privpipe.attacks.restoration`.

The confidence is the product of two measures. Halves of the stolen images must give the same field; and the energy of
what is found, in the directions where the hypothesis expects noise, must be what sigma says: without a shared field
(`scope: image`, unperturbed images) next to nothing is left of it, and another k or sigma leaves too much or too
little.

That noise which repeats averages out is common knowledge: the fixed pattern of a camera's sensor is estimated in this
way (Lukáš, Fridrich and Goljan, "Digital camera identification from sensor pattern noise", IEEE Transactions on
Information Forensics and Security, 2006). The estimate and the confidence are our own.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.special import ndtr

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.attacks.moments import parts_of
from privpipe.attacks.restoration import WHITE, Prior, restore
from privpipe.attacks.wiener import prior_of
from privpipe.attacks.windows import unit_of, windows
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array
from privpipe.perturb.values import ROUNDING_OF_INTEGERS, Doubles, pixel_values

MIN_IMAGES = 4  # two in each half
SMALLEST_FRACTION = 1e-12  # without noise (sigma 0) there is nothing to share
FARTHEST = 8 * 255.0  # grey levels that a mean before cutting is sought within
HALVINGS = 30
# The mean image at level L0, about the generic prior's grey: variances, in squared grey levels of the components of
# colour, of its brightness and of smooth shading over a quarter of the image's width. Round numbers, meant to be loose.
BRIGHTNESS = (1000.0, 100.0, 100.0)
SHADING = (300.0, 30.0, 30.0)


class SharedField(Attack):
    """See the module. The key is the field, float32 (H, W, C) or a value for each cell, in grey levels of 0..255."""

    name = "shared_field"
    levels = ("L0", "L1")
    seeks_key = True
    order = 60

    def applies(self, method: Perturbation) -> bool:
        return method.noise_is_key and method.scope == "dataset"

    def run(self, view: AdversaryView) -> Outcome:
        if len(view.stolen) < MIN_IMAGES:
            raise PrivpipeError(f"shared_field needs at least {MIN_IMAGES} stolen images; got {len(view.stolen)}.")
        prior = prior_of(view)
        halves = [_mean(view.stolen[0::2]), _mean(view.stolen[1::2])]
        means = np.stack([(halves[0] + halves[1]) / 2, *halves])
        fields, energies = np.empty_like(means), []
        for window in windows(view.image_size, len(prior.mean), unit_of(view.transformation), overlap=True):
            found, energy = _field(view, prior, window.of(means))
            fields[:, *window.core] = found[:, *window.inner_core]
            energies.append(energy)
        method = view.transformation
        key = method.observations(fields[:1].astype(np.float32)).reshape(method.key_form(view.channels))
        images = restore(view.targets, method, key, prior)
        return Outcome(images, _agreement(*fields[1:]) * _likeness(float(np.mean(energies))), key)


def _field(view: AdversaryView, prior: Prior, means: Doubles) -> tuple[Doubles, float]:
    """The fields of mean images or windows of them (n, H, W, C), and the energy of the first; see the module."""
    pixels = means[0, :, :, 0].size
    method = replace(view.transformation, image_size=means.shape[1])
    matrix, noise = method.image_operator(None), method.image_noise_covariance()
    if noise is None:
        raise PrivpipeError(f"shared_field needs the covariance of the noise, and {view.method} gives none.")
    if method.exact:
        means = _before_cutting(means, matrix, prior, len(view.stolen))
    expected_mean = matrix @ prior.mean.reshape(pixels, -1)
    fields = np.empty((len(means), pixels, view.channels))
    energy = np.empty(view.channels)
    for component, axis in enumerate(prior.colours):
        seen = np.stack([(one.reshape(pixels, -1) - expected_mean) @ axis for one in means], axis=1)
        error = matrix @ (matrix @ _error(view, prior, component)).T
        # What is rounded averages out as the images do; the floor keeps the system regular.
        error[np.diag_indices(pixels)] += ROUNDING_OF_INTEGERS / len(view.stolen)
        factor = cho_factor(noise + error, lower=True, overwrite_a=True)
        weights = cho_solve(factor, seen)
        fields[:, :, component] = (noise @ weights).T
        # The mean square of whitened values, weighted by the fraction of noise; its expectation is 1.
        expected = np.trace(cho_solve(factor, noise))
        energy[component] = weights[:, 0] @ noise @ weights[:, 0] / max(float(expected), SMALLEST_FRACTION)
    return (fields @ prior.colours).reshape(means.shape), float(energy.mean())


def _before_cutting(means: Doubles, matrix: csr_array, prior: Prior, count: int) -> Doubles:
    """Means of values before they were cut to 0..255, given those of `count` cut ones (n, H, W, C).

    The mean of N(m, s²) that is cut grows with m, so that m is found by halving an interval.
    """
    variances = np.stack([(matrix @ (matrix @ one).T).diagonal() for one in prior.covariances], axis=1)
    spreads = np.sqrt(variances @ prior.colours**2).reshape(means.shape[1:])
    wanted = means.clip(*(WHITE * np.array([1, 2 * count - 1]) / (2 * count)))  # all black: one in 2N is not
    low, high = np.full_like(means, -FARTHEST), np.full_like(means, FARTHEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = cut_mean(middle, spreads) > wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return low


def cut_mean(means: Doubles, spreads: Doubles) -> Doubles:
    """The mean of N(means, spreads²) after it was cut to 0..255."""
    first, last = -means / spreads, (WHITE - means) / spreads
    densities = (np.exp(-(first**2) / 2) - np.exp(-(last**2) / 2)) / np.sqrt(2 * np.pi)
    return np.asarray(means * (ndtr(last) - ndtr(first)) + spreads * densities + WHITE * ndtr(-last))


def _error(view: AdversaryView, prior: Prior, component: int) -> Doubles:
    """Covariance (P, P) of the expected mean image and of the mean of the stolen images' originals about each other."""
    covariance = prior.covariances[component]
    pixels = len(covariance)
    error = covariance / len(view.stolen)
    if view.public is not None:
        return np.asarray(error + covariance / len(view.public))
    y, x = np.divmod(np.arange(pixels), len(prior.mean))
    squared = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    smooth = np.exp(-squared / (2 * (view.image_size / 4) ** 2))
    axis = component if view.channels == len(BRIGHTNESS) else 0  # other channels are grey images, as in Prior.generic
    return np.asarray(error + BRIGHTNESS[axis] + SHADING[axis] * smooth)


def _mean(images: Array) -> Doubles:
    """Mean of stored images in grey levels, (H, W, C)."""
    total = sum(pixel_values(part).sum(axis=0, dtype=np.float64) for part in parts_of(images))
    return np.asarray(total / len(images))


def _agreement(one: Doubles, other: Doubles) -> float:
    """Correlation of two fields, not below 0."""
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return max(0.0, float((one * other).sum()) / size) if size else 0.0


def _likeness(energy: float) -> float:
    """1 where the energy is as expected, near 0 where it is a multiple or a fraction."""
    return min(energy, 1 / energy) ** 2 if energy > 0 else 0.0
