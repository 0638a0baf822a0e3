"""How much of the key an attack found; see `privpipe.perturb.keys.KeyRecovery`."""

from privpipe.perturb.keys import KeyRecovery
from privpipe.scores.base import MOSTLY, Attempt, Labels, Metrics, Score

FOUND = 0.9  # of a key: from there on it counts as found


class Recovery(Score):
    """Fraction of right entries of a permutation; for other keys |cosine| between what was found and the truth."""

    name = "key_recovery"
    label = "key recovered"
    order = 50
    of_images = False
    decimals = None  # of a key, which no candidate for an image tells
    mark = "90 % of the key"

    def measure(self, attempt: Attempt) -> float | None:
        return None if attempt.key is None else attempt.key.pixels

    def chance(self, labels: Labels, key: KeyRecovery | None) -> float | None:
        return None if key is None else key.pixels

    def finding(self, level: str, known: str, metrics: Metrics) -> str | None:
        recovery, chance = metrics[f"{level}_{self.name}"], metrics[f"chance_{self.name}"]
        if recovery is None or recovery < FOUND or (chance is not None and chance >= MOSTLY):
            return None
        return f"With {known}, {100 * recovery:.1f} % of the key was recovered."

    def note(self, metrics: Metrics) -> str:
        return "Key recovered: the fraction of pixels in place, or the |cosine| between what was found and the key."


class BlocksRecovered(Score):
    """Fraction of the permutations of blocks without a wrong entry."""

    name = "blocks_recovered"
    label = "blocks recovered"
    order = 51
    of_images = False
    decimals = None

    def measure(self, attempt: Attempt) -> float | None:
        return None if attempt.key is None else attempt.key.blocks

    def chance(self, labels: Labels, key: KeyRecovery | None) -> float | None:
        return None if key is None else key.blocks
