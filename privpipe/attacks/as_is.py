"""Take the perturbed image for the image: what an adversary has without any work."""

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.perturb import Perturbation
from privpipe.perturb.values import pixel_values


class AsIs(Attack):
    """The targets as they are, in grey levels of 0..255. It believes nothing, so it has no confidence."""

    name = "as_is"
    levels = ("L0",)
    order = 0

    def applies(self, method: Perturbation) -> bool:
        return True

    def run(self, view: AdversaryView) -> Outcome:
        return Outcome(pixel_values(view.targets))
