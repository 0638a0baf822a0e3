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

import numpy as np

from privpipe.errors import PrivpipeError
from privpipe.perturb.keystream import KeyStream, normal
from privpipe.perturb.method import Drawing
from privpipe.perturb.release import Arrays, Labelled, Labels, SetRelease
from privpipe.perturb.values import Images

LEAST_PUBLIC = 20  # images: fewer have hardly a covariance
NOISE_BYTES = 4  # of one value


class DpStatistics(SetRelease):
    """Sums of r zᵀ over all private images, with Gaussian noise; z has at most 512 dimensions, r one for each class."""

    name = "dp_statistics"
    summary = "the images stay at home; noisy sums over all of them leave, for a classifier to be fitted to"
    form = "noisy_sums"
    colour = "#276749"

    def release(
        self, private: Labelled, public: Images, public_labels: Labels | None, classes: int, stream: KeyStream
    ) -> Arrays:
        # torch, which programs that release nothing do without, comes with the features.
        from privpipe.statistics.mechanism import Budget
        from privpipe.statistics.noisy_sums import numbers_of
        from privpipe.statistics.recipe import prepare

        if len(public) < LEAST_PUBLIC:
            raise PrivpipeError(
                f"{self.name} makes its features of public images, at least {LEAST_PUBLIC}; got {len(public)}. Raise "
                "data.public."
            )
        recipe, budget = prepare(public, public_labels, classes), Budget(self.mu)
        noise = normal(stream.shared(NOISE_BYTES * recipe.noise_count(budget)))[0]
        return numbers_of(recipe, recipe.release(private.images, private.labels, budget, noise))

    def identified(self, released: Arrays, candidates: Labelled, targets: int) -> float:
        from privpipe.statistics.mechanism import Budget
        from privpipe.statistics.noisy_sums import linked

        rng = np.random.default_rng(0)
        return linked(released, Budget(self.mu), candidates.images, candidates.labels, targets, rng)

    def drawing(self) -> Drawing:
        return Drawing(f"{self.name}: sums over all images, with noise\nepsilon = {self.epsilon:g}, mu = {self.mu:.3g}")
