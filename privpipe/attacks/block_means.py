"""Restore pictures from the means of their blocks alone, where no key changes these.

A block's mean survives any permutation of its pixels, for example, also a fresh one for each image: the thumbnail of
block means is free, to float precision and without the key. The picture is then the linear estimate of least mean
square error from these means, as for `pixelate` but without its rounding; see `privpipe.attacks.restoration`. Level L0:
the generic model of natural pictures; level L1: mean and covariance of public images.

The observation is our own. The confidence compares the spectrum of the thumbnails with the expected one, as `wiener`
does; it tells a k that is too small, and data that are no pictures. A k that divides into the one believed is no wrong
guess, nor are pictures that are not scrambled: the means are right.
"""

import numpy as np

from privpipe.attacks.base import Attack, Attempt, Loot
from privpipe.attacks.restoration import estimate
from privpipe.attacks.wiener import HALF, MAX_IMAGES, log_ratios, prior_of, trust
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, to_blocks
from privpipe.perturb.linear import block_means
from privpipe.perturb.values import Floats, levels_of_grey

NOISE = 1e-3  # squared levels; the means are exact, and this keeps the system regular


class BlockMeans(Attack):
    """See the module. Reconstructions of the targets; no key."""

    name = "block_means"
    levels = ("L0", "L1")
    order = 20

    def applies(self, method: Perturbation) -> bool:
        return method.keyed and method.keeps_block_means and method.scope == "image"

    def run(self, loot: Loot) -> Attempt:
        prior = prior_of(loot)
        matrix = block_means(loot.image_size, loot.k)
        images = estimate(_means(loot.targets, loot.k), matrix, NOISE * np.eye(matrix.shape[0]), prior)
        side = loot.image_size // loot.k
        seen = _means(loot.stolen[:MAX_IMAGES], loot.k)
        deviations = (seen - matrix @ prior.mean.reshape(-1, loot.channels)) @ prior.colours[0]
        expected = matrix @ (matrix @ prior.covariances[0]).T
        ratios = log_ratios(deviations.reshape(-1, side, side), expected)
        if not ratios.size:  # too few blocks to have a spectrum
            return Attempt(images)
        return Attempt(images, trust(float(np.abs(ratios).max()), HALF["filter", loot.public is not None]))


def _means(images: Array, k: int) -> Floats:
    """The means of the blocks of stored images, in levels, (N, blocks, C)."""
    return np.asarray(to_blocks(levels_of_grey(images), k).mean(axis=2))
