"""What is wrong with a set of images beyond what cannot be read: duplicates across its parts, and a range left unused.

audit = Audit("warn")
write_folder("images.h5", index, rows, 64, audit=audit)
audit.pairs, audit.used_levels()
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

logger = logging.getLogger(__name__)

Policy = Literal["ignore", "warn", "stop", "drop"]
SETS = ("test", "val", "train", "public")  # of two duplicates the one that stands later here is dropped
SHOWN = 10  # pairs in a message
QUARTER = 64  # levels of 256
OUTLIERS = 0.001  # of the values at each end, which do not count as used


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
    """

    def __init__(self, policy: Policy):
        self.policy: Policy = policy
        self.pairs: list[Twins] = []
        self.dropped = 0
        self.unreadable: list[str] = []
        self.sets: dict[str, _Set] = {}
        self._parts: dict[str, list[_Set]] = {}
        self._levels = np.zeros(256, np.int64)

    def see(self, name: str, places: Rows, paths: list[Path], labels: Rows, images: NDArray[np.uint8]) -> None:
        """Take note of readable images (N, H, W, C) of a set: `train`, `val`, `test` or `public`."""
        if name != "public":
            for image in images:
                self._levels += np.bincount(image.reshape(-1), minlength=256)
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

    def used_levels(self) -> tuple[int, int] | None:
        """The levels of 0..255 between which all values of the owner's images lie but for outliers; None for none."""
        total = int(self._levels.sum())
        if not total:
            return None
        below = np.cumsum(self._levels)
        low = int(np.searchsorted(below, OUTLIERS * total, "right"))
        return low, int(np.searchsorted(below, (1 - OUTLIERS) * total, "left"))

    def warn_of_range(self) -> None:
        """Warn where a set uses less than a quarter of its range."""
        used = self.used_levels()
        if used is not None and used[1] - used[0] < QUARTER:
            logger.warning(
                "the images use the levels %d to %d of 0..255 only, less than a quarter: if their files hold fewer "
                "bits than their type has, set data.range=set, which takes black and white from percentiles of the set",
                *used,
            )


def _joined(parts: list[_Set]) -> _Set:
    return _Set(
        np.concatenate([part.places for part in parts]),
        [path for part in parts for path in part.paths],
        np.concatenate([part.labels for part in parts]),
        Fingerprints.joined([part.fingerprints for part in parts]),
    )
