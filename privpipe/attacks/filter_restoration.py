"""The best linear estimate of an image from its filtered version, where the kernel is known up to an error.

    from privpipe.attacks.filter_restoration import restore_filtered
    images = restore_filtered(targets, weights, weight_error=1e-4, prior=Prior.of(public))

A kernel that lets next to nothing of some frequencies pass makes a small error of a weight a large one of the estimate.
With errors e of variance v in each of the k² weights, independent of each other, the filtered image is

    y = K x + Σ_j e_j P_j x,    so that the noise has the covariance    N = v · Σ_j P_j S P_jᵀ + what rounding adds,

where P_j takes the pixel that weight j meets and S is the covariance of images. S is that of the first component of
colour, for all of them: cautious for the others. The mean image is left out: what a kernel does to it is known well.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from privpipe.attacks.restoration import Prior, restore
from privpipe.perturb.random_filter import RandomFilter
from privpipe.perturb.values import Floats


def restore_filtered(
    targets: NDArray[np.float16], weights: NDArray[np.float64], weight_error: float, prior: Prior
) -> Floats:
    """Estimate the originals of images filtered with about `weights`.

    Args:
        targets: as stored, float16 (T, H, W, C) in units where white is 1, H = W.
        weights: float64 (k, k), as `RandomFilter.weights`.
        weight_error: variance of the error of each weight.
        prior: of images of the same shape, or of windows of them (`Prior.known`).

    Returns:
        float32 (T, H, W, C) in grey levels of 0..255, clipped to them, not rounded.
    """
    k, side = len(weights), len(prior.mean)
    places = np.pad(np.arange(side * side).reshape(side, side), k // 2, mode="reflect")
    met = sliding_window_view(places, (k, k)).reshape(side * side, k * k).T  # (k², P)
    noise = weight_error * sum(prior.covariances[0][np.ix_(pixels, pixels)] for pixels in met)
    return restore(targets, RandomFilter(targets.shape[1], k), weights, prior, lambda _: noise)
