"""Restore images of which a key tells each pixel with an error of its own (`Perturbation.decoded`).

What is told is y = K x + e, e of standard deviation s_p at pixel p. Divided by s_p, every row has an error of variance
1, and every image an operator of its own: so it is estimated as `privpipe.attacks.banded` says.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from privpipe.attacks.banded import Bands
from privpipe.perturb.values import Floats

if TYPE_CHECKING:
    from privpipe.attacks.restoration import Prior

WHITE = 255.0


def restore_decoded(told: Floats, errors: Floats, matrix: csr_array, prior: "Prior") -> Floats:
    """Images, float32 (T, H, W, C) in grey levels of 0..255, clipped to them.

    Args:
        told: y, (T, H, W, C), in grey levels.
        errors: the standard deviation of each pixel of it, (T, H, W), over 0.
        matrix: K, (H*W, H*W), for each colour.
        prior: of images, or of windows of them.
    """
    size, channels = told.shape[1], told.shape[3]
    # Windows are of all places, so that they have about one mean.
    mean = prior.mean if len(prior.mean) == size else prior.mean.mean(axis=(0, 1), keepdims=True)
    mean = np.broadcast_to(mean, told.shape[1:]).reshape(size * size, channels)
    bands, images = Bands(prior.covariances, 1.0, size), np.empty(told.shape, np.float32)
    predicted, entries = matrix @ mean, np.diff(matrix.indptr)
    for number, (seen, error) in enumerate(zip(told, errors, strict=True)):
        weights = 1 / error.reshape(-1).astype(np.float64)
        scaled = csr_array((matrix.data * np.repeat(weights, entries), matrix.indices, matrix.indptr), matrix.shape)
        left = (weights[:, None] * (seen.reshape(-1, channels) - predicted)) @ prior.colours.T
        deviations = bands.solve(scaled, (scaled.T @ left)[:, :, None])[:, :, 0]
        images[number] = (deviations @ prior.colours + mean).clip(0, WHITE).reshape(told.shape[1:])
    return images
