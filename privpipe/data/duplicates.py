"""Images that are the same, or nearly, in two sets or in two classes: what is learned of one then tells of the other.

Of each image a fingerprint is kept: a digest of its pixels, and its block means, so that hundreds of thousands fit into
memory. Images of one digest are identical. Images are near where the block means of all channels, centred, correlate
to `NEAR`: the same image saved again, resized, brightened or compressed, but not mirrored or cropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import xxhash
from numpy.typing import NDArray

SIDE = 12  # of the block means
NEAR = 0.985  # a JPEG of quality 80 keeps 0.99 of a noisy 32x32 image; other photographs of CIFAR-10 stay below 0.97
FLAT = 2.0  # levels: with a smaller standard deviation, what correlates is noise
BLOCK = 1024  # images compared with all earlier ones at a time


@dataclass(frozen=True)
class Pair:
    """Row `first` of the fingerprints and row `second`, which comes later."""

    first: int
    second: int
    identical: bool


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What is kept of N images.

    Attributes:
        digests: (N,) uint64 of the pixels (XXH3), which for a set of 100,000 images collide once in 10**9 sets.
        means: (N, V) uint8, the block means of all channels.
    """

    digests: NDArray[np.uint64]
    means: NDArray[np.uint8]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> "Fingerprints":
        """Of images (N, H, W, C)."""
        side = min(SIDE, images.shape[1])
        digests = np.array([xxhash.xxh3_64_intdigest(np.ascontiguousarray(image).data) for image in images], np.uint64)
        small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).reshape(-1) for image in images]
        return cls(digests, np.array(small, np.uint8).reshape(len(images), -1))

    @classmethod
    def joined(cls, parts: "list[Fingerprints]") -> "Fingerprints":
        """Those of several sets, one after the other."""
        return cls(np.concatenate([part.digests for part in parts]), np.concatenate([part.means for part in parts]))

    def rows(self, rows: NDArray[Any]) -> "Fingerprints":
        """Those of some images."""
        return Fingerprints(self.digests[rows], self.means[rows])


def duplicates(
    fingerprints: Fingerprints, sets: NDArray[np.int64], labels: NDArray[np.int64], start: int = 0
) -> list[Pair]:
    """Pairs of images that lie in two sets or have two labels: for each image at most one, with an earlier one.

    Args:
        sets, labels: (N,) the set and the class of each image.
        start: the later image of a pair is this row or one after it.
    """
    kinds = np.unique(np.stack([sets, labels]), axis=1, return_inverse=True)[1].reshape(-1)
    pairs = {pair.second: pair for pair in _near(fingerprints, kinds, start)}
    pairs |= {pair.second: pair for pair in _identical(fingerprints, kinds) if pair.second >= start}
    return [pairs[second] for second in sorted(pairs)]


def _identical(fingerprints: Fingerprints, kinds: NDArray[np.int64]) -> Iterator[Pair]:
    """Each image with the first one that has its digest and is of another kind."""
    firsts: dict[int, dict[int, int]] = {}
    for row, (value, kind) in enumerate(zip(fingerprints.digests.tolist(), kinds.tolist(), strict=True)):
        seen = firsts.setdefault(value, {})
        earlier = [first for other, first in seen.items() if other != kind]
        if earlier:
            yield Pair(min(earlier), row, True)
        seen.setdefault(kind, row)


def _near(fingerprints: Fingerprints, kinds: NDArray[np.int64], first_row: int) -> Iterator[Pair]:
    """Each image with the most similar earlier one of another kind, where that is near."""
    means = fingerprints.means
    spread = np.array([float(row.std()) for row in means])
    textured = np.flatnonzero(spread >= FLAT)
    if not len(textured):
        return
    places = _projected(means[textured])
    tree, crowded = cKDTree(places), _crowded(places)
    everything = np.arange(len(textured))
    for start in range(int(np.searchsorted(textured, first_row)), len(textured), BLOCK):
        later = textured[start : start + BLOCK]
        best, score = np.full(len(later), len(kinds)), np.full(len(later), NEAR)
        mine = _centred(means[later])
        candidates = everything if crowded else _around(tree, places[start : start + BLOCK])
        candidates = candidates[candidates < start + len(later)]
        for first in range(0, len(candidates), BLOCK):
            earlier = textured[candidates[first : first + BLOCK]]
            likeness = mine @ _centred(means[earlier]).T
            if likeness.max() <= NEAR:  # nearly always, and the rest takes longer than the products
                continue
            likeness[(kinds[later][:, None] == kinds[earlier]) | (earlier >= later[:, None])] = -1
            place = likeness.argmax(1)
            value = likeness[np.arange(len(later)), place]
            better = value > score
            best[better], score[better] = earlier[place[better]], value[better]
        for row, other in zip(later.tolist(), best.tolist(), strict=True):
            if other < len(kinds):
                yield Pair(other, row, False)


def _centred(means: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows of mean 0 and length 1, whose products are correlations."""
    values = means.astype(np.float32)
    values -= values.mean(1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values
