"""Noisy mixtures: feature vectors of several images of one class added up, each sum with Gaussian noise of its own.

The map from images to short vectors z of norm at most 1 is that of `dp_statistics`. Each image is added to `passes`
rows, one of each pass, drawn evenly among the rows of its class; the release is all rows with noise and with the
classes that they stand for. So whoever has it trains whatever it likes on labelled vectors, and on as many of them as
there are images / `mixed` x `passes`. DP-CDA releases such sums of one class (Saha, Tonoy and Imtiaz, 2024, arXiv
2411.16121), of images; NeuroMixGDP releases noisy means of features of any classes with means of their labels (Li, Cao
and Yao, "NeuroMixGDP: a neural collapse-inspired random mixup for private data release", 2022, arXiv 2202.06467).

Both draw the images of each row anew and account for it as a subsample. Here every image is in a fixed number of rows,
whatever the others are, so that the guarantee is that of one Gaussian mechanism (`privpipe.statistics.mixtures`):
nothing is claimed for not knowing who is in which row.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privpipe.perturb.keystream import KeyStream, below, fine_normal
from privpipe.perturb.release import NOISE_BYTES, Arrays, FeatureRelease, Labelled, Labels
from privpipe.perturb.settings import setting
from privpipe.perturb.values import Floats

if TYPE_CHECKING:
    from privpipe.statistics.recipe import Recipe

DRAW_BYTES = 8  # of one row


@dataclass(frozen=True)
class DpMixtures(FeatureRelease):
    """Rows, each the sum of about `mixed` vectors z of one class and of Gaussian noise, with the classes of the rows.

    Args:
        mixed: expected number of images in a row, where classes are of one size.
        passes: how many rows each image is in; its vector is sqrt(passes) times fainter in each, beside the noise.
    """

    name = "dp_mixtures"
    summary = "the images stay at home; noisy sums of some of one class each leave, for any classifier to be trained on"
    form = "noisy_mixtures"
    drawn = "sums of several images of a class, with noise"
    colour = "#68a51c"

    mixed: float = setting(500.0, "images of one class in a sum, on average", least=1, most=1e6, whole=True)
    passes: float = setting(1.0, "sums that each image is in", least=1, most=100, whole=True)

    def summed(self, recipe: "Recipe", private: Labelled, stream: KeyStream) -> Arrays:
        from privpipe.statistics.mechanism import Budget
        from privpipe.statistics.mixtures import Mixing, numbers_of, release

        count = len(private.labels)
        mixing = Mixing(int(self.mixed), int(self.passes), recipe.classes, count)
        drawn = below(stream.child("rows").shared(DRAW_BYTES * count * mixing.passes), mixing.of_class)
        noise = fine_normal(stream.shared(NOISE_BYTES * mixing.total * recipe.dims))[0]
        rows = mixing.rows(private.labels, drawn.reshape(count, mixing.passes))
        z = recipe.vectors(private.images)
        return numbers_of(recipe, mixing, release(z, rows, mixing, Budget(self.mu), noise))

    def identified_by(self, recipe: "Recipe", vectors: Floats, labels: Labels, targets: int) -> float:
        """As `DpStatistics.identified_by`, by the products of z alone.

        The adversary also knows the rows of the unknown image, which are the same whichever image of its class it is.
        """
        from privpipe.statistics.mechanism import Budget
        from privpipe.statistics.membership import linkage

        ones = np.ones((len(vectors), 1), np.float32)
        return linkage(vectors, ones, labels, Budget(self.mu), np.random.default_rng(0), targets)
