"""Whether a classifier of unperturbed images still sees in a reconstruction what the image shows."""

import numpy as np

from privpipe.perturb.keys import KeyRecovery
from privpipe.scores.base import MOSTLY, Attempt, Labels, Metrics, Score


class Recognised(Score):
    """Fraction of reconstructions in which the reference classifier sees the right class."""

    name = "recognised"
    label = "recognised"
    order = 40
    decimals = None  # a count
    of_originals = True
    mark = "half of what a classifier recognises"

    def measure(self, attempt: Attempt) -> float | None:
        return None if attempt.images is None else float((attempt.recognise(attempt.images) == attempt.labels).mean())

    def chance(self, labels: Labels, key: KeyRecovery | None) -> float | None:
        """By always naming the most frequent class."""
        return float(np.bincount(labels).max() / len(labels))

    def finding(self, level: str, known: str, metrics: Metrics) -> str | None:
        seen, chance, plain = (metrics[f"{which}_{self.name}"] for which in (level, "chance", "original"))
        if seen is None or plain <= chance or (seen - chance) / (plain - chance) < MOSTLY:
            return None
        return (
            f"With {known}, a plain classifier recognises {100 * seen:.1f} % of the best reconstructions, against "
            f"{100 * plain:.1f} % of the originals."
        )

    def note(self, metrics: Metrics) -> str:
        plain = self.shown(metrics[f"original_{self.name}"])
        return f"Recognised: a classifier of plain images names the right class; it names {plain} of the originals."
