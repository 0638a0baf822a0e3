"""Attacks on releases of a whole set that seek the images in it: what an adversary holds there, and what an attack is.

One class in one file of this folder, as attacks on perturbed images are; `privpipe/attacks/registry.py` finds them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from numpy.typing import NDArray

from privpipe.attacks.base import Budget, Outcome
from privpipe.attacks.records import Record
from privpipe.attacks.suite import timed
from privpipe.perturb import RELEASES, SetRelease
from privpipe.perturb.base import Images
from privpipe.released import About


@dataclass(frozen=True)
class SetView:
    """What the adversary holds.

    Args:
        about: what the release says of itself.
        numbers: of the release, by name.
        public: unperturbed images of other images, uint8 (M, H, W, C); None at level L0.
    """

    about: About
    numbers: dict[str, NDArray[Any]]
    public: Images | None = None

    @cached_property
    def release(self) -> SetRelease:
        """The method with its settings."""
        return RELEASES[self.about.method](self.about.shape[0], **self.about.settings)


class SetAttack(ABC):
    """One way to get the images of a set back.

    Attributes:
        name, levels, order: see `privpipe.attacks.base.Attack`.
        forms: of releases that it is for, see `privpipe.perturb.release.SetRelease`.
    """

    name: ClassVar[str]
    levels: ClassVar[tuple[str, ...]]
    forms: ClassVar[tuple[str, ...]]
    order: ClassVar[int] = 50

    @classmethod
    def within(cls, budget: Budget) -> "SetAttack | None":
        """The attack as far as `budget` goes; None where it does not suffice."""
        return cls()

    @abstractmethod
    def run(self, view: SetView) -> Outcome:
        """Attack.

        Returns:
            `images`, one for each image that it takes to be in the set, in any order; `key`, which of these each row of
            the release holds, int32 (rows, images of a row), -1 where it does not say.

        Raises:
            PrivpipeError: there is too little to learn from, or too much; the message says what would do.
        """


def attacked(view: SetView, attacks: Sequence[SetAttack], rows: int) -> list[Record]:
    """A record of each of `attacks` that is for releases of this form, at each of its levels.

    Args:
        rows: of the release, which the records name as what was learned from.
    """
    fitting = [attack for attack in attacks if view.about.form in attack.forms]
    records = []
    for attack in sorted(fitting, key=lambda one: (one.order, one.name)):
        for level in attack.levels:
            known = replace(view, public=None) if level == "L0" else view
            # mypy infers no types of a lambda whose arguments have defaults.
            records.append(timed(attack.name, level, 0, rows, lambda of=attack, at=known: of.run(at)))  # type: ignore[misc]
    return records
