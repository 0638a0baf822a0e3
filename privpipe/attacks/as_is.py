"""Take the perturbed image for the picture: what a thief has without any work."""

from privpipe.attacks.base import Attack, Attempt, Loot
from privpipe.perturb import Perturbation
from privpipe.perturb.values import levels_of_grey


class AsIs(Attack):
    """The targets as they are, in levels of 0..255. It believes nothing, so it has no confidence."""

    name = "as_is"
    levels = ("L0",)
    order = 0

    def applies(self, method: Perturbation) -> bool:
        return True

    def run(self, loot: Loot) -> Attempt:
        return Attempt(levels_of_grey(loot.targets))
