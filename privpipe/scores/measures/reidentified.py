"""Whether an image can be told from the others by what an attack made of it."""

from typing import ClassVar

import numpy as np

from privpipe.attacks.linkage import image_similarity
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images
from privpipe.perturb.keys import KeyRecovery
from privpipe.perturb.values import Floats, pixel_values
from privpipe.scores.base import MOSTLY, Attempt, Labels, Metrics, Score


class Reidentified(Score):
    """Fraction of images whose original is the most similar one to the reconstruction, of all originals."""

    name = "reidentified_top1"
    label = "re-identified"
    order = 30
    decimals = None  # a count
    mark = "half of the images that can be told apart"
    among: ClassVar[int] = 1

    def measure(self, attempt: Attempt) -> float | None:
        if attempt.matching is None and attempt.images is None:
            return None
        similarity = attempt.once(_similarity, attempt) if attempt.matching is None else attempt.matching
        return reidentify(similarity, self.among)

    def chance(self, labels: Labels, key: KeyRecovery | None) -> float | None:
        return min(1.0, self.among / len(labels))

    def finding(self, level: str, known: str, metrics: Metrics) -> str | None:
        if level != "l0":  # what public images and pairs add is no news about the upload itself
            return None
        told, guessed = metrics[f"{level}_{self.name}"], metrics[f"chance_{self.name}"]
        if told is None or guessed == 1 or (told - guessed) / (1 - guessed) < MOSTLY:
            return None
        return (
            f"Whoever holds the originals among {round(1 / guessed):,} candidates tells {100 * told:.1f} % of the "
            "uploaded images apart, without the key."
        )

    def note(self, metrics: Metrics) -> str:
        candidates = round(1 / metrics[f"chance_{self.name}"])
        return f"Re-identified: the original is told from {candidates:,} candidates."


class ReidentifiedAmongFive(Reidentified):
    """Fraction of images whose original is among the five most similar ones."""

    name = "reidentified_top5"
    label = "among five"
    order = 31
    mark = ""
    among = 5

    def finding(self, level: str, known: str, metrics: Metrics) -> str | None:
        return None

    def note(self, metrics: Metrics) -> str:
        return ""


def reidentify(similarity: Array, among: int = 1) -> float:
    """Fraction of targets whose true image is among so many most similar ones of the gallery.

    Ties count as they come out on average when broken at random, so that a constant similarity scores chance.

    Args:
        similarity: (T, G); the true image of row i is column i, T at most G.

    Raises:
        PrivpipeError: the array is not as described, or has NaN.
    """
    if similarity.ndim != 2 or not 1 <= similarity.shape[0] <= similarity.shape[1] or np.isnan(similarity).any():
        raise PrivpipeError(
            f"similarities must be (T, G) without NaN, the gallery holding every target; got {similarity.shape}. "
            "Put the true image of row i in column i."
        )
    true = np.diagonal(similarity)[:, None]
    better = (similarity > true).sum(axis=1)
    tied = (similarity == true).sum(axis=1)  # itself included
    return float(((among - better) / tied).clip(0, 1).mean())


def _similarity(attempt: Attempt) -> Floats:
    images: Images | None = attempt.images
    assert images is not None
    return image_similarity(pixel_values(images), attempt.originals)
