"""Images that are the same, or nearly, in two sets or in two classes: what is learned of one then tells of the other.

Of each image a fingerprint is kept: a digest of its pixels, and its block means, so that hundreds of thousands fit into
memory. Images of one digest are identical. Images are near where their block means, less the mean of each channel,
correlate to `NEAR`: the same image saved again, resized, compressed, or with other brightness and contrast, also of
single channels; but not mirrored, cropped, or with much of it clipped to black or white.
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
FLAT = 2.0  # levels: where no channel has a greater standard deviation, what correlates is noise
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
        means: (N, P, C) uint8, the block means of each channel.
    """

    digests: NDArray[np.uint64]
    means: NDArray[np.uint8]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> "Fingerprints":
        """Of images (N, H, W, C)."""
        side = min(SIDE, images.shape[1])
        digests = np.array([xxhash.xxh3_64_intdigest(np.ascontiguousarray(image).data) for image in images], np.uint64)
        small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
        return cls(digests, np.array(small, np.uint8).reshape(len(images), side * side, images.shape[3]))

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
    count = len(kinds)
    spread = np.array([float(row.std(0).max()) for row in fingerprints.means])
    textured = np.flatnonzero(spread >= FLAT)
    for start in range(int(np.searchsorted(textured, first_row)), len(textured), BLOCK):
        later = textured[start : start + BLOCK]
        best, score = np.full(len(later), count), np.full(len(later), NEAR)
        mine = _normalised(fingerprints.means[later])
        for first in range(0, start + len(later), BLOCK):
            earlier = textured[first : first + BLOCK]
            theirs = _normalised(fingerprints.means[earlier])
            likenesses = [a @ b.T for a, b in zip(mine, theirs, strict=True)]
            if max(likeness.max() for likeness in likenesses) <= NEAR:  # nearly always, and the rest takes longer
                continue
            likeness = np.maximum(*likenesses)
            likeness[(kinds[later][:, None] == kinds[earlier]) | (earlier >= later[:, None])] = -1
            place = likeness.argmax(1)
            value = likeness[np.arange(len(later)), place]
            better = value > score
            best[better], score[better] = earlier[place[better]], value[better]
        for row, other in zip(later.tolist(), best.tolist(), strict=True):
            if other < count:
                yield Pair(other, row, False)


def _normalised(means: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows (N, P C) of length 1, whose products are correlations; channels count by their contrast, or all alike.

    By their contrast, a dim channel that a JPEG has spoilt counts for little. All alike, another contrast of one
    channel does not count; `FLAT` keeps the noise of a channel that has none small.
    """
    values = means.astype(np.float32)
    values -= values.mean(1, keepdims=True)
    alike = values / np.sqrt(np.square(values).mean(1, keepdims=True) + np.float32(FLAT**2))
    return _unit(values), _unit(alike)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = values.reshape(len(values), -1)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.float32(1e-6))
    return flat
