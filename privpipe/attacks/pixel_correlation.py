"""Undo a block scramble that all images share, from the correlations between pixels: no key and no known pair.

Two things survive a permutation that is the same for all images: the mean of every block, and which pixels go together.
How a pixel correlates with the means of all blocks tells its place: compared with the same of public images (level L1),
or with a model of how correlation falls with distance (level L0), a linear assignment gives the permutation of each
block, which is then refined from pixel to pixel.

`privpipe.attacks.correlations` has the method and its sources. It stands apart because the cloud uses it too, to
descramble before it trains, and must not depend on every transformation there is.
"""

import numpy as np

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.attacks.correlations import Shared, attack
from privpipe.perturb import Perturbation
from privpipe.perturb.values import pixel_values


class PixelCorrelation(Attack):
    """Find the permutations from the correlations between pixels and undo them.

    Under `scope: image` there is no one permutation to find, and the confidence comes out near 0. With k=1 nothing is
    permuted: the targets are the originals.
    """

    name = "pixel_correlation"
    levels = ("L0", "L1")
    seeks_key = True
    order = 10

    def applies(self, method: Perturbation) -> bool:
        return method.permutes_within_blocks

    def run(self, view: AdversaryView) -> Outcome:
        if view.k == 1:
            identity = np.zeros((view.image_size**2, 1), dtype=np.int32)
            return Outcome(pixel_values(view.targets), confidence=1.0, key=identity)
        shared = view.kept.setdefault((self.name, view.k), Shared(view.k))
        recovered = attack(view.stolen, view.k, view.public, shared)
        restored = view.transformation.invert(view.targets, recovered.permutations)
        return Outcome(pixel_values(restored), recovered.confidence, recovered.permutations)
