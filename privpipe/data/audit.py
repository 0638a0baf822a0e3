"""What is wrong with a set of images beyond what cannot be read: duplicates across its parts, and a range left unused.

audit = Audit("warn")
write_folder("images.h5", index, rows, 64, audit=audit)
audit.pairs, audit.used()
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from privpipe.data.duplicates import Fingerprints, duplicates
from privpipe.data.split import Rows
from privpipe.errors import PrivpipeError
from privpipe.reading import PLAIN, Range, Reading

logger = logging.getLogger(__name__)

Policy = Literal["ignore", "warn", "stop", "drop"]
SETS = ("test", "val", "train", "public")  # of two duplicates the one that stands later here is dropped
SHOWN = 10  # pairs in a message
QUARTER = 64  # levels of 256
OUTLIERS = 0.001  # of the values at each end, which do not count as used
FEWER_BITS = (
    "Most often, 16-bit files hold the 10, 12 or 14 bits of a camera, or the exposure was short: with data.range=set, "
    "black and white are percentiles over the training images."
)
REMEDIES: dict[Range, str] = {
    "declared": FEWER_BITS,
    "type": FEWER_BITS,
    "set": "A few values far off the others are the reason, such as dust or a scale bar: raise data.saturated.",
    "image": "Each image has a few values far off the others, such as dust or a scale bar: raise data.saturated.",
}


@dataclass(frozen=True)
class Used:
    """The levels, of 0..255, between which all values of the owner's images lie but for outliers.

    Attributes:
        channel: its number or name; empty for those of all colours together.
    """

    channel: str
    low: int
    high: int

    def __str__(self) -> str:
        return f"{f'channel {self.channel}: ' if self.channel else ''}{self.low} to {self.high}"

    @property
    def little(self) -> bool:
        """Less than a quarter of the range."""
        return self.high - self.low < QUARTER


@dataclass(frozen=True)
class Twins:
    """Two images of different sets or classes that are the same, or nearly.

    Attributes:
        files: the kept one and its duplicate, by set, class and path.
        identical: in every pixel, as they were read.
    """

    files: tuple[tuple[str, str, Path], tuple[str, str, Path]]
    identical: bool

    def __str__(self) -> str:
        (set_1, class_1, path_1), (set_2, class_2, path_2) = self.files
        return f"{path_1} ({set_1}, {class_1}) and {path_2} ({set_2}, {class_2})"

    @property
    def contradictory(self) -> bool:
        """Whether the two have different classes; public images have none that counts."""
        (_, one, _), (name, other, _) = self.files
        return one != other and name != "public"


@dataclass(frozen=True, eq=False)
class _Set:
    """What is known of the images of a set: places (N,) in it, paths, labels (N,) and fingerprints."""

    places: Rows
    paths: list[Path]
    labels: Rows
    fingerprints: Fingerprints

    def without(self, places: Sequence[int]) -> "_Set":
        keep = np.flatnonzero(~np.isin(self.places, places))
        paths = [self.paths[row] for row in keep]
        return _Set(self.places[keep], paths, self.labels[keep], self.fingerprints.rows(keep))


class Audit:
    """Collects what `write_folder` sees of the owner's and of the public images.

    Args:
        policy: what to do about duplicates: nothing, warn, refuse the set, or drop one (both, if their classes differ).
        reading: how the images are read; channels that it names are looked at each by itself.
    """

    def __init__(self, policy: Policy, reading: Reading = PLAIN):
        self.policy: Policy = policy
        self.reading = reading
        self.pairs: list[Twins] = []
        self.dropped = 0
        self.unreadable: list[str] = []
        self.sets: dict[str, _Set] = {}
        self._parts: dict[str, list[_Set]] = {}
        self._levels = np.zeros((reading.count if reading.named else 1, 256), np.int64)

    def see(self, name: str, places: Rows, paths: list[Path], labels: Rows, images: NDArray[np.uint8]) -> None:
        """Take note of readable images (N, H, W, C) of a set: `train`, `val`, `test` or `public`."""
        if name != "public":
            for image in images:
                for counts, values in zip(self._levels, image.reshape(-1, len(self._levels)).T, strict=True):
                    counts += np.bincount(values, minlength=256)
        if self.policy != "ignore":
            self._parts.setdefault(name, []).append(_Set(places, paths, labels, Fingerprints.of(images)))

    def compare(self, class_names: Sequence[str]) -> list[tuple[str, int, str]]:
        """Compare what was seen since the last call with all; for what must be dropped its set, place and reason.

        Raises:
            PrivpipeError: there are duplicates, and the policy is to stop.
        """
        new = {name: _joined(parts) for name, parts in self._parts.items() if parts}
        self._parts = {}
        old = [name for name in SETS if name in self.sets]
        order = [*old, *(name for name in SETS if name in new)]
        self.sets |= new
        if not new or self.policy == "ignore":
            return []
        sets = [self.sets[name] for name in order]
        names = np.repeat(np.arange(len(order)), [len(one.paths) for one in sets])
        labels, places = (np.concatenate([getattr(one, field) for one in sets]) for field in ("labels", "places"))
        paths = [path for one in sets for path in one.paths]
        start = sum(len(self.sets[name].paths) for name in old)
        found = duplicates(Fingerprints.joined([one.fingerprints for one in sets]), names, labels, start)

        def about(row: int) -> tuple[str, str, Path]:
            name = order[names[row]]
            return name, class_names[labels[row]] if name != "public" else "", paths[row]

        twins = [Twins((about(pair.first), about(pair.second)), pair.identical) for pair in found]
        self.pairs += twins
        self._report(twins)
        if self.policy != "drop":
            return []
        drop = {pair.second: twin for pair, twin in zip(found, twins, strict=True)}
        drop |= {pair.first: twin for pair, twin in zip(found, twins, strict=True) if twin.contradictory}
        out = [(order[names[row]], int(places[row]), f"a duplicate: {twin}") for row, twin in sorted(drop.items())]
        for name in order:
            self.sets[name] = self.sets[name].without([place for other, place, _ in out if other == name])
        self.dropped += len(out)
        return out

    def _report(self, twins: list[Twins]) -> None:
        if not twins:
            return
        same = sum(twin.identical for twin in twins)
        lines = [f"  {twin}" for twin in twins[:SHOWN]]
        lines += [f"  and {len(twins) - SHOWN:,} more"] if len(twins) > SHOWN else []
        said = (
            f"{len(twins):,} images have a duplicate in another set or class ({same:,} identical, "
            f"{len(twins) - same:,} nearly), so that results would be too good:\n" + "\n".join(lines)
        )
        if self.policy == "stop":
            raise PrivpipeError(f"{said}\nRemove them, or set data.on_duplicates to drop (leave them out) or warn.")
        logger.warning("%s%s", said, "\nThey are left out." if self.policy == "drop" else "")

    def used(self) -> list[Used]:
        """What of the range is used, by channel; empty where no images were seen."""
        out = []
        for name, counts in zip(self.reading.channels if self.reading.named else ("",), self._levels, strict=True):
            below, total = np.cumsum(counts), int(counts.sum())
            if total:
                low = int(np.searchsorted(below, OUTLIERS * total, "right"))
                out.append(Used(name, low, int(np.searchsorted(below, (1 - OUTLIERS) * total, "left"))))
        return out

    def range_warning(self) -> str:
        """What to say of channels that use less than a quarter of their range; empty where none does."""
        little = [one for one in self.used() if one.little]
        if not little:
            return ""
        what = "The images are" if len(little) == len(self._levels) else "Some channels of the images are"
        look = "nearly black" if all(one.high < QUARTER for one in little) else "of very little contrast"
        spans = ", ".join(
            f"{f'channel {one.channel}: ' if one.channel else ''}{one.low} to {one.high}" for one in little
        )
        return (
            f"{what} {look}: but for outliers, they use less than a quarter of the levels 0 to 255 ({spans}), so that "
            f"little is left to classify or to attack. {REMEDIES[self.reading.range]}"
        )

    def warn_of_range(self) -> None:
        """Warn where a set uses less than a quarter of its range."""
        if said := self.range_warning():
            logger.warning("%s", said)


def _joined(parts: list[_Set]) -> _Set:
    return _Set(
        np.concatenate([part.places for part in parts]),
        [path for part in parts for path in part.paths],
        np.concatenate([part.labels for part in parts]),
        Fingerprints.joined([part.fingerprints for part in parts]),
    )
