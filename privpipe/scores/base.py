"""What a score is: one number for what an adversary achieved, with all that tables, figures and the page say of it.

A score is one class in one file of `privpipe/scores/measures`, or in another package that names it as an entry point
`privpipe.scores`; `privpipe/scores/registry.py` finds them. No one of them stands for privacy alone: an image can be
re-identified from a reconstruction in which nobody would recognise anything.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.base import Array, Images
from privpipe.perturb.keys import KeyRecovery

T = TypeVar("T")
Values = NDArray[np.float64]
Labels = NDArray[np.int64]
Recognise = Callable[[Images], Labels]  # images (T, H, W, C) to predicted classes (T,)
Metrics = Mapping[str, Any]

WORST_FRACTION = 0.01  # of images: the worst-protected
MOSTLY = 0.5  # of what could be lost: from there on it counts as lost


@dataclass(frozen=True)
class Attempt:
    """What is scored: what came of one run of one attack, or of a baseline that needs none.

    Args:
        originals: uint8 (T, H, W, C); also the gallery of re-identification.
        labels: their classes, int64 (T,).
        recognise: the classes that a classifier of unperturbed images sees, int64 (T,), of uint8 (T, H, W, C).
        images: reconstructions, uint8 (T, H, W, C); None where only a key was sought.
        matching: similarity of the perturbed images themselves with the originals, (T, T), where that was the attempt.
        key: how much of the key was found; None where none was sought.
    """

    originals: Images
    labels: Labels
    recognise: Recognise
    images: Images | None = None
    matching: Array | None = None
    key: KeyRecovery | None = None
    _known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, work: Callable[..., T], *arguments: Any) -> T:
        """What `work(*arguments)` gives, computed once for all scores that ask for it."""
        if work not in self._known:
            self._known[work] = work(*arguments)
        known: T = self._known[work]
        return known


class Score(ABC):
    """One number.

    Attributes:
        name: ends the name of its metrics and is its column in tables, lower case with underscores.
        label: of its row on the page, with the unit.
        higher_is_better: whether the adversary does better the higher it is; the owner wants the opposite.
        of_images: whether it looks at reconstructions, and at nothing else of an attempt, so that baselines are scored
            as well.
        of_originals: whether it is worth knowing what the originals themselves would score.
        order: in tables, by rising order, of equal ones by name; the page's findings begin with the last.
        digits: after the point, on the page; None: as a percentage.
        decimals: after the point, in what is published; None: all. With all its digits, whoever has a candidate for an
            original could compute a number that follows from originals, and would know for certain.
        mark: what counts as a success, as it follows "The marks are"; empty where `finding` says nothing.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    of_images: ClassVar[bool] = True
    of_originals: ClassVar[bool] = False
    order: ClassVar[int] = 45
    digits: ClassVar[int | None] = None
    decimals: ClassVar[int | None] = 3
    mark: ClassVar[str] = ""

    @abstractmethod
    def measure(self, attempt: Attempt) -> float | None:
        """The score; None where the attempt has nothing that it looks at."""

    def chance(self, labels: Labels, key: KeyRecovery | None) -> float | None:
        """What guessing achieves on average. A score that does not define it has the baseline images beside it alone.

        Args:
            labels: classes of the images, int64 (T,).
            key: what a key drawn at random would score; None for methods without a key, or that do not say.
        """
        return None

    @classmethod
    def has_chance(cls) -> bool:
        """Whether `chance` is defined, so that the metrics have it."""
        return cls.chance is not Score.chance

    def finding(self, level: str, known: str, metrics: Metrics) -> str | None:
        """A sentence if the adversary succeeded by this score; None where not, or where it was not measured.

        Args:
            level: l0, l1 or l2.
            known: what is known at that level, in words.
            metrics: as `metrics/privacy.json`.
        """
        return None

    def note(self, metrics: Metrics) -> str:
        """What its name means, sentences below the page's table."""
        return ""

    def shown(self, value: float | None) -> str:
        """A value as the page writes it."""
        if value is None:
            return ""
        return f"{100 * value:.1f} %" if self.digits is None else f"{value:.{self.digits}f}"


class ImageScore(Score):
    """A number for each image; the score is their mean.

    Attributes:
        worst_only: whether it is the mean over the worst-protected 1 % of images instead, since a mean hides the few
            that come out well.
    """

    worst_only: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def values(originals: Images, images: Images) -> Values:
        """The number of each image, float64 (T,), of uint8 originals and reconstructions (T, H, W, C)."""

    def measure(self, attempt: Attempt) -> float | None:
        if attempt.images is None:
            return None
        values = attempt.once(self.values, attempt.originals, attempt.images)
        return worst(values, self.higher_is_better) if self.worst_only else float(values.mean())


def worst(values: Values, higher_is_better: bool = True) -> float:
    """Mean of the best 1 % of `values` for the adversary, of one value at least: the worst-protected images."""
    count = max(1, round(WORST_FRACTION * len(values)))
    ordered = np.sort(values)
    return float((ordered[-count:] if higher_is_better else ordered[:count]).mean())
