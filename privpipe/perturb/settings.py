"""Settings that a method has of its own, beside `k`, `scope` and `sigma`.

A method declares each as a field of its class, which is a dataclass:

    @dataclass(frozen=True)
    class RestrictedPermutation(BlockPerturbation):
        fraction: float = setting(0.5, "fraction of the blocks that stay where they are", least=0, most=1)

In `params.yaml` it is `perturb.fraction`, in Python `privpipe.perturb(..., fraction=0.25)`; left out, it is its
default. Other methods ignore it. It is bound into the key stream, and written into files of perturbed images and of
models.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privpipe.errors import PrivpipeError

DECLARED = "privpipe.setting"  # in the metadata of a field

Settings = Mapping[str, float]  # values by name


@dataclass(frozen=True)
class Setting:
    """One setting: a number.

    Args:
        name: as a parameter, `perturb.<name>`.
        meaning: a clause without a full stop.
        default: where nobody sets it.
        least, most: legal values, both included.
        above: a bound that is not legal itself; None: `least` is the bound.
        whole: whether it is a whole number.
    """

    name: str
    meaning: str
    default: float
    least: float = -math.inf
    most: float = math.inf
    above: float | None = None
    whole: bool = False

    @property
    def legal(self) -> str:
        """The legal values in words, as they go on after "must be"."""
        kind = "a whole number" if self.whole else "a number"
        low = f"over {self.above:g}" if self.above is not None else ""
        if not low and self.least > -math.inf:
            low = f"{self.least:g} or more" if self.most == math.inf else f"from {self.least:g}"
        high = "" if self.most == math.inf else f"up to {self.most:g}"
        return " ".join(part for part in (kind, low, high) if part)

    def accepts(self, value: Any) -> bool:
        """Whether `value` is legal."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.whole and value != int(value):
            return False
        return self.least <= value <= self.most and (self.above is None or value > self.above)


def setting(
    default: float,
    meaning: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float | None = None,
    whole: bool = False,
) -> Any:
    """A field of a method that is a setting of its own; arguments as for `Setting`."""
    said = {"default": default, "meaning": meaning, "least": least, "most": most, "above": above, "whole": whole}
    return dataclasses.field(default=default, kw_only=True, metadata={DECLARED: said})


def declared(kind: Any) -> dict[str, Setting]:
    """The settings of a method's class by name, in the order of its declaration.

    Raises:
        PrivpipeError: the class declares settings, and is no dataclass itself.
    """
    if any(isinstance(value, dataclasses.Field) for value in vars(kind).values()):
        raise PrivpipeError(
            f"{kind.__name__} declares settings, so it must be a dataclass. Put @dataclass(frozen=True) above it."
        )
    fields = [field for field in dataclasses.fields(kind) if DECLARED in field.metadata]
    return {field.name: Setting(name=field.name, **field.metadata[DECLARED]) for field in fields}


def as_text(settings: Settings) -> str:
    """Settings as text, the same for equal ones; empty without any."""
    return json.dumps({name: float(value) for name, value in settings.items()}, sort_keys=True) if settings else ""


def parsed(text: str) -> dict[str, float]:
    """What `as_text` wrote.

    Raises:
        ValueError: it is something else.
    """
    settings = json.loads(text) if text else {}
    if not isinstance(settings, dict) or not all(
        name.isidentifier() and isinstance(value, float) and math.isfinite(value) for name, value in settings.items()
    ):
        raise ValueError(f"its settings are {text[:100]!r}")
    return settings


def in_words(settings: Settings) -> str:
    """`fraction=0.5, planes=8`."""
    return ", ".join(f"{name}={value:g}" for name, value in settings.items())
