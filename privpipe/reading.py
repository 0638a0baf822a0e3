"""How image files become arrays: which channels, what of a stack, and which values are black and white.

A perturbed set, a model and the queries to it must be read in the same way, so a `Reading` travels as text in the
header of their files. The default is the empty text: files made with it are those of versions without readings.
"""

import json
import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from privpipe.errors import PrivpipeError

Stack = Literal["refuse", "first", "max"]
Range = Literal["declared", "type", "set", "image"]
AUTO, COMPOSITE = "auto", "composite"
MAX_CHANNELS = 4
MAX_COMPOSITE = 7  # channels that a composite has colours for
DIGITS = 6  # of a limit: enough for 16 bits, and no more of the images than that


@dataclass(frozen=True)
class Reading:
    """The settings of `data.channels`, `data.stack`, `data.range` and `data.saturated`, and what was measured for them.

    Args:
        channels: `("auto",)`, `("composite",)`, or 1 to 4 channels by number from 1 on, or by name.
        stack: of several planes or frames: refuse the file, take the first, or the greatest value of each pixel.
        range: black and white as the file declares them, as its type has them, by percentiles over the set, or by
            percentiles of each image.
        saturated: percent of the values that become black, and as many white, where percentiles are taken.
        limits: (black, white) measured over a set, one pair for all channels or one for each (of a composite: for each
            of the files'); empty for others.
    """

    channels: tuple[str, ...] = (AUTO,)
    stack: Stack = "refuse"
    range: Range = "declared"
    saturated: float = 0.1
    limits: tuple[tuple[float, float], ...] = ()

    @property
    def named(self) -> bool:
        """Whether channels are asked for by number or name; otherwise images come out as RGB."""
        return self.channels[0] not in (AUTO, COMPOSITE)

    @property
    def count(self) -> int:
        """Channels of the images that come out."""
        return len(self.channels) if self.named else 3

    @property
    def common(self) -> bool:
        """Whether one pair of limits holds for all channels: with one for each, colours would change."""
        return self.channels == (AUTO,)

    def _fits(self, pairs: int) -> bool:
        """Whether so many pairs of limits can have been measured."""
        if self.range != "set":
            return pairs == 0
        if self.channels == (COMPOSITE,):
            return 1 <= pairs <= MAX_COMPOSITE
        return pairs == (1 if self.common else self.count)

    def measured(self, low: Any, high: Any) -> "Reading":
        """This reading with limits measured over a set, float (C,) each."""
        rounded = [tuple(float(f"{value:.{DIGITS}g}") for value in pair) for pair in zip(low, high, strict=True)]
        return replace(self, limits=tuple((black, white if white > black else black + 1) for black, white in rounded))

    def describe(self) -> str:
        """As text for a header; empty for the default."""
        if self == Reading():
            return ""
        about: dict[str, Any] = {"channels": list(self.channels), "stack": self.stack, "range": self.range}
        if self.range in ("set", "image"):
            about["saturated"] = self.saturated
        if self.limits:
            about["limits"] = [list(pair) for pair in self.limits]
        return json.dumps(about, sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> "Reading":
        """The reading that a header describes; it may come from a cloud that is not trusted.

        Raises:
            PrivpipeError: the text is none that `describe` gives.
        """
        if not text:
            return cls()
        try:
            about = json.loads(text)
            limits = tuple((float(low), float(high)) for low, high in about.get("limits", []))
            channels = tuple(str(channel) for channel in about["channels"])
            found = cls(channels, about["stack"], about["range"], float(about.get("saturated", 0.1)), limits)
            sound = found.describe() == text and 0 < len(channels) <= MAX_CHANNELS
            sound &= found.stack in get_args(Stack) and found.range in get_args(Range)
            sound &= all(-math.inf < low < high < math.inf for low, high in limits) and 0 <= found.saturated < 50
            sound &= found._fits(len(limits))
            if not sound:
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PrivpipeError(
                f"no reading of images is described by {text[:200]!r}. The file is damaged, or of a newer privpipe; "
                "make it again with `dvc repro`."
            ) from error
        return found


PLAIN = Reading()
