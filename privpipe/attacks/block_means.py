"""Restore images from the means of their blocks alone, where no key changes these.

A block's mean survives any permutation of its pixels, for example, also a fresh one for each image: the thumbnail of
block means is free, to float precision and without the key. The image is then the linear estimate of least mean
square error from these means, as for `pixelate` but without its rounding; see `privpipe.attacks.restoration`. Level L0:
the generic model of natural images; level L1: mean and covariance of public images.

The observation is our own. The confidence compares the spectrum of the thumbnails with the expected one, as `wiener`
does; it tells a k that is too small, and data that are no images. A k that divides into the one believed is no wrong
guess, nor are images that are not scrambled: the means are right.
"""

import numpy as np

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.attacks.restoration import restore
from privpipe.attacks.wiener import HALF, log_ratios, prior_of, seen, trust
from privpipe.perturb import Perturbation
from privpipe.perturb.base import to_blocks
from privpipe.perturb.linear import block_means
from privpipe.perturb.pixelate import Pixelate
from privpipe.perturb.values import pixel_values

NOISE = 1e-3  # squared grey levels; the means are exact, and this keeps the system regular


class BlockMeans(Attack):
    """See the module. Reconstructions of the targets; no key."""

    name = "block_means"
    levels = ("L0", "L1")
    order = 20

    def applies(self, method: Perturbation) -> bool:
        return method.keyed and method.keeps_block_means and method.scope == "image"

    def run(self, view: AdversaryView) -> Outcome:
        prior = prior_of(view)
        images = restore(view.targets, Pixelate(view.image_size, view.k), None, prior, rounding=NOISE)
        matrix = block_means(len(prior.mean), view.k)
        side = len(prior.mean) // view.k
        means = to_blocks(pixel_values(seen(view, prior)), view.k).mean(axis=2)
        deviations = (means - matrix @ prior.mean.reshape(-1, view.channels)) @ prior.colours[0]
        expected = matrix @ (matrix @ prior.covariances[0]).T
        ratios = log_ratios(deviations.reshape(-1, side, side), expected)
        if not ratios.size:  # too few blocks to have a spectrum
            return Outcome(images)
        return Outcome(images, trust(float(np.abs(ratios).max()), HALF["filter", view.public is not None]))
