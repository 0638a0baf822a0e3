"""Take the perturbed image for the picture: what a thief has without any work."""

from privpipe.attacks.base import Attack, Attempt, Loot, levels_of_grey


class AsIs(Attack):
    """The targets as they are, in levels of 0..255. It believes nothing, so it has no confidence."""

    name = "as_is"
    levels = ("L0",)

    def applies(self, method: str, scope: str) -> bool:
        return True

    def run(self, loot: Loot) -> Attempt:
        return Attempt(levels_of_grey(loot.targets))
