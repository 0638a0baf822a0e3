"""Noisy sums over the whole set: what a linear classifier is fitted to, and nothing else.

Public images make a map from images to short vectors z of norm at most 1, and a first classifier. The map is made of
whitened patches of them and, where their classes are known and they are 1,000 at least, of a small network that is
trained on them. The release is the sum over the private images of r zᵀ, r being what the first classifier leaves
unexplained of an image's class, plus Gaussian noise as strong as one image can be, over mu
(`privpipe.statistics.mechanism`). Whoever has it fits the best linear classifier that such sums allow. Good features
matter more than anything else here: Tramèr and Boneh, "Differentially private learning needs better features (or much
more data)" (ICLR 2021).

The map, the number of dimensions and all strengths are fixed before the private images are looked at.
"""

from typing import TYPE_CHECKING

import numpy as np

from privpipe.perturb.keystream import KeyStream, fine_normal
from privpipe.perturb.release import NOISE_BYTES, Arrays, FeatureRelease, Labelled, Labels
from privpipe.perturb.values import Floats

if TYPE_CHECKING:
    from privpipe.statistics.recipe import Recipe


class DpStatistics(FeatureRelease):
    """Sums of r zᵀ over all private images, with Gaussian noise; z has at most 512 dimensions, r one for each class."""

    name = "dp_statistics"
    summary = "the images stay at home; noisy sums over all of them leave, for a classifier to be fitted to"
    form = "noisy_sums"
    drawn = "sums over all images, with noise"
    colour = "#276749"

    def summed(self, recipe: "Recipe", private: Labelled, stream: KeyStream) -> Arrays:
        from privpipe.statistics.mechanism import Budget
        from privpipe.statistics.noisy_sums import numbers_of

        budget = Budget(self.mu)
        noise = fine_normal(stream.shared(NOISE_BYTES * recipe.noise_count(budget)))[0]
        return numbers_of(recipe, recipe.release(private.images, private.labels, budget, noise))

    def identified_by(self, recipe: "Recipe", vectors: Floats, labels: Labels, targets: int) -> float:
        """By t of `mechanism` and the noise, which are left when all other images of the set are subtracted."""
        from privpipe.statistics.mechanism import Budget
        from privpipe.statistics.membership import linkage

        rng = np.random.default_rng(0)
        return linkage(vectors, recipe.targets(vectors, labels), labels, Budget(self.mu), rng, targets)
