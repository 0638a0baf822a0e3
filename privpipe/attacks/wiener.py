"""Restore blurred, pixelated or noisy images with the linear estimate of least mean square error.

It needs no key, so it applies to methods whose linear operator anybody knows. Level L0: the generic model of natural
images; level L1: mean and covariance of public images. Under
noise with `scope: dataset` the same field lies on all images; each is denoised alone all the same, which is valid, and
`shared_field` does better.

The confidence asks whether the stolen images look like what the hypothesis says, however well they can be restored:
their power spectrum is compared with the one that K S Kᵀ + N predicts, in bands of frequency. Blur, pixelation and
noise each leave a spectrum that differs from that of other k, other sigma or plain images by factors of 4 to 1000.

Source: see `privpipe.attacks.restoration`. The confidence is our own.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.attacks.restoration import Prior, restore
from privpipe.attacks.windows import reach_of, sample_windows, unit_of
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array
from privpipe.perturb.values import ROUNDING_OF_INTEGERS, pixel_values

MAX_IMAGES = 2000  # stolen images whose spectrum is measured; more change nothing
# Misfit, in nepers of power, at which the confidence is 1/2. On images, right hypotheses have at most 1.0 (filters)
# and 0.6 (noise) under the generic prior, 0.3 and 0.3 under public images; wrong ones at least 1.4 and 0.75, and 1.4
# and 0.7. A filter shows in its worst band of luminance, noise in the mean over bands of all colours: images have
# little of their power in differences of colour, where noise has as much as anywhere.
HALF = {("filter", False): 1.2, ("filter", True): 0.7, ("noise", False): 0.65, ("noise", True): 0.45}
STEEPNESS = 8
# Lower bands are left out: how bright images are, and their gradients from edge to edge, which no method here changes
# and which differ most from one kind of image to another.
LOWEST_BAND = 2
SMALLEST_POWER = 1e-6  # of a frequency, squared grey levels: black images have none


class Wiener(Attack):
    """See the module. Reconstructions of the targets; no key."""

    name = "wiener"
    levels = ("L0", "L1")
    order = 70

    def applies(self, method: Perturbation) -> bool:
        return method.operator_without_key and not method.identity

    def run(self, view: AdversaryView) -> Outcome:
        prior = prior_of(view)
        images = restore(view.targets, view.transformation, None, prior)
        return Outcome(images, confidence(view, prior))


def prior_of(view: AdversaryView) -> Prior:
    """What the adversary knows of images: its public images, or else the generic model."""
    return Prior.known(view.public, view.transformation, view.channels)


def confidence(view: AdversaryView, prior: Prior) -> float:
    """0..1: whether the stolen images have the power spectrum that the method, k and sigma predict under `prior`."""
    method = replace(view.transformation, image_size=len(prior.mean))
    noise = method.image_noise_covariance()
    kind = "filter" if noise is None else "noise"
    matrix = np.asarray(method.image_operator(None).toarray())
    stolen = seen(view, prior)
    if len(prior.mean) < view.image_size:  # what the method makes of a window's edge depends on what lies beyond it
        edge = reach_of(method)
        inner = slice(edge, len(prior.mean) - edge)
        places = np.arange(len(matrix)).reshape(prior.mean.shape[:2])[inner, inner].ravel()
        matrix, stolen = matrix[places], stolen[:, inner, inner]
        noise = None if noise is None else noise[np.ix_(places, places)]
    deviations = deviations_of(stolen, matrix @ prior.mean.reshape(-1, view.channels), prior)
    ratios = []
    for component in range(len(prior.colours) if kind == "noise" else 1):
        covariance = matrix @ (matrix @ prior.covariances[component]).T + ROUNDING_OF_INTEGERS * np.eye(len(matrix))
        if noise is not None:
            covariance += noise
        ratios.append(log_ratios(deviations[..., component], covariance))
    misfit = np.abs(ratios).mean() if kind == "noise" else np.abs(ratios).max(initial=0)
    return trust(float(misfit), HALF[kind, view.public is not None])


def seen(view: AdversaryView, prior: Prior) -> Array:
    """Stolen images whose spectrum is measured, or windows of them of the size of the prior's."""
    if len(prior.mean) == view.image_size:
        return view.stolen[:MAX_IMAGES]
    return sample_windows(view.stolen, len(prior.mean), unit_of(view.transformation), MAX_IMAGES)


def trust(misfit: float, half: float) -> float:
    """A confidence that falls from 1 to 0 where `misfit` passes `half`."""
    return 1 / (1 + (misfit / half) ** STEEPNESS)


def deviations_of(stolen: Array, mean: NDArray[np.float64], prior: Prior) -> NDArray[np.float64]:
    """Stored images less `mean` (H*W, C), in components of colour, (N, H, W, C)."""
    images = pixel_values(stolen)
    return np.asarray((images - mean.reshape(images.shape[1:])) @ prior.colours.T)


def log_ratios(deviations: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the power observed over the power expected, in each band of frequency from LOWEST_BAND.

    Args:
        deviations: (N, H, W), H = W, from the expected mean.
        covariance: (H*W, H*W), expected.
    """
    size = deviations.shape[1]
    observed = (dctn(deviations, axes=(1, 2), norm="ortho") ** 2).mean(axis=0) + SMALLEST_POWER
    expected = np.einsum("uvuv->uv", dctn(covariance.reshape((size,) * 4), norm="ortho"))
    rings = np.minimum(np.rint(np.hypot(*np.indices((size, size)))).astype(int), size - 1).ravel()
    ratios = np.log(np.bincount(rings, observed.ravel()) / np.bincount(rings, expected.ravel()))
    return np.asarray(ratios[LOWEST_BAND:])
