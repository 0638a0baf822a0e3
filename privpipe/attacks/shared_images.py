"""Which encodings share an image: a linear measure of likeness that is learned on public images, and groups by it.

For `privpipe.attacks.unmixing`. The squares of an encoding do not depend on its signs, and their expectation, given an
image x of weight w in it, is w² x² plus what does not depend on x. So features of an encoding are its squares, averaged
over squares of some pixels and divided by their mean. The adversary encodes public images: how features of two
encodings that share an image vary together, against how features vary at all, gives directions in which an image shows
most (a linear discriminant; Fisher 1936). In these, scaled so that features have variance 1,

    z = sum over the images of an encoding of  w² m_i  + noise,     m_i normal around 0 with known variances.

Labels tell the weights, and of which class each image is. Each class has as many m_i as images. They are found class by
class by expectation and maximisation, from several starts, and then all together.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from privpipe.perturb.base import Images
from privpipe.perturb.instahide import Instahide
from privpipe.perturb.keystream import KeyStream
from privpipe.perturb.values import Floats

SIDE = 16  # of the features, in squares of pixels
PAIRS = 20_000  # of encodings that share an image
CHUNK = 2000
DIRECTIONS = 400
RIDGE = 1e-3  # of the mean variance of a feature
STARTS, STEPS = 5, 60
COOLING = 0.6  # of the steps, until likelihoods count in full
TOGETHER = 30
LEAST = 1e-6
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Slots:
    """The places of images in encodings of which each class is known to be of one image.

    Args:
        rows: of the encoding, (S,); `classes`: of the image, (S,); `weights`: of it, float32 (S,).
    """

    rows: Rows
    classes: Rows
    weights: Floats

    @classmethod
    def of(cls, labels: Floats, count: int) -> "Slots":
        """Those of encodings with soft labels (E, C) that name `count` classes, as many as there are private images."""
        rows, classes = np.nonzero((labels > 0) & ((labels > 0).sum(axis=1) == count)[:, None])
        return cls(rows, classes, labels[rows, classes].astype(np.float32))

    def among(self, chosen: NDArray[np.bool_]) -> "Slots":
        """Those of some encodings, (E,)."""
        kept = chosen[self.rows]
        return Slots(self.rows[kept], self.classes[kept], self.weights[kept])


def averaged(values: Floats, shape: tuple[int, int, int]) -> Floats:
    """Values of images (n, H*W*C), averaged over squares of pixels, float32 (n, F)."""
    height, width, channels = shape
    step = max(1, height // SIDE)
    step = step if height % step == 0 and width % step == 0 else 1
    parts = values.reshape(-1, height // step, step, width // step, step, channels)
    return np.asarray(parts.mean(axis=(2, 4), dtype=np.float32).reshape(len(values), -1))


def features(absolute: Floats, shape: tuple[int, int, int]) -> Floats:
    """Squares of encodings (n, H*W*C), averaged and divided by their mean, float32 (n, F)."""
    values = averaged(np.square(absolute), shape)
    return np.asarray(values / np.maximum(values.mean(axis=1, keepdims=True), LEAST))


@dataclass(frozen=True)
class Discriminant:
    """Directions in which an image of an encoding shows.

    Args:
        mean: of features, (F,).
        axes: (F, D).
        strengths: variance along each of m_i, (D,), largest first.
    """

    mean: Floats
    axes: Floats
    strengths: Floats

    def places(self, values: Floats) -> Floats:
        """Features (n, F) along the directions, float32 (n, D)."""
        return np.asarray((values - self.mean) @ self.axes, np.float32)


def learned(method: Instahide, public: Images, seed: int = 0) -> Discriminant:
    """From public images that are encoded with keys of one's own."""
    first, second, weights = (np.concatenate(parts) for parts in zip(*_pairs(method, public, seed), strict=True))
    mean = (first.mean(axis=0) + second.mean(axis=0)) / 2
    first, second = first - mean, second - mean
    total = (first.T @ first + second.T @ second) / (2 * len(first))
    total += np.float32(RIDGE * np.trace(total) / len(total)) * np.eye(len(total), dtype=np.float32)
    of_both = np.square(weights).prod(axis=1)
    shared = (first * of_both[:, None]).T @ second / np.square(of_both).sum()
    count = min(DIRECTIONS, len(total))
    strengths, axes = eigh((shared + shared.T) / 2, total, subset_by_index=[len(total) - count, len(total) - 1])
    strengths, axes = strengths[::-1], axes[:, ::-1]
    kept = strengths > LEAST
    return Discriminant(mean, axes[:, kept].astype(np.float32), strengths[kept].astype(np.float32))


def _pairs(method: Instahide, public: Images, seed: int) -> list[tuple[Floats, Floats, Floats]]:
    """Features of two encodings around the same image, and the weights that it has in both, (n, 2)."""
    twice, out = replace(method, encodings=2), []
    for again in range(math.ceil(PAIRS / len(public))):
        stream = KeyStream(bytes(32), ("unmixing", seed, again))
        plan = twice.plan(len(public), len(public), stream)
        order = np.argsort(plan.private[:, 0], kind="stable")  # both encodings of an image side by side
        sorted_plan = replace(plan, private=plan.private[order], public=plan.public[order], weights=plan.weights[order])
        parts = [
            features(np.abs(sorted_plan.mixed(public, public, slice(start, start + CHUNK))), public.shape[1:])
            for start in range(0, len(order), CHUNK)
        ]
        values, weights = np.concatenate(parts), sorted_plan.weights[:, 0].reshape(-1, 2)
        out.append((values[0::2], values[1::2], weights))
    return out


@dataclass(frozen=True)
class Groups:
    """The images of each class, as points, and which of them is in each slot.

    Args:
        sizes: how many images each class has.
        points: m_i, class after class, (N, D).
        chances: of each image of its class in each slot, (S, greatest size); 0 beyond the size.
    """

    sizes: list[int]
    points: Floats
    chances: Floats

    @property
    def firsts(self) -> NDArray[np.intp]:
        """The first image of each class, and one more number, how many there are."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.intp)


def grouped(places: Floats, slots: Slots, strengths: Floats, sizes: list[int], seed: int = 0) -> Groups:
    """Sort slots by the images in them.

    Args:
        places: of all encodings, (E, D).
    """
    rng = np.random.default_rng(seed)
    found = []
    for label, size in enumerate(sizes):
        of_class = slots.classes == label
        scale = np.square(slots.weights[of_class])
        found.append(_alone(places[slots.rows[of_class]], scale, size, strengths, rng))
    return together(places, slots, strengths, Groups(sizes, np.concatenate(found), np.empty((0, 0), np.float32)))


def _alone(places: Floats, scale: Floats, size: int, strengths: Floats, rng: np.random.Generator) -> Floats:
    """The points of a class, by its slots alone: those of the likeliest start, (size, D)."""
    best = (-np.inf, np.zeros((size, len(strengths)), np.float32))
    if not size or not len(places):
        return best[1]
    for _ in range(STARTS):
        first = rng.choice(len(places), size, replace=len(places) < size)
        points = places[first] * (scale[first, None] * strengths / (np.square(scale[first, None]) * strengths + 1))
        for step in range(STEPS):
            scores = _scores(places, scale, points)
            chances = softmax(scores * np.float32(min(1.0, 0.2 + 0.8 * step / (COOLING * STEPS))))
            points = _points(places, scale, chances, strengths)
        value = float(_scores(places, scale, points).max(axis=1).sum() - (np.square(points) / strengths).sum() / 2)
        best = max(best, (value, points), key=lambda pair: pair[0])
    return best[1]


def _scores(places: Floats, scale: Floats, points: Floats) -> Floats:
    """Log-likelihoods of slots for each point but for what all points share, (S, size)."""
    return np.asarray(
        scale[:, None] * (places @ points.T) - np.square(scale)[:, None] / 2 * np.square(points).sum(axis=1)
    )


def _points(places: Floats, scale: Floats, chances: Floats, strengths: Floats) -> Floats:
    precision = (chances * np.square(scale)[:, None]).sum(axis=0)[:, None] + 1 / strengths
    return np.asarray((chances * scale[:, None]).T @ places / precision, np.float32)


def softmax(scores: Floats) -> Floats:
    """Chances in proportion to exp of scores, by rows."""
    values = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def together(
    places: Floats, slots: Slots, strengths: Floats, groups: Groups, steps: int = TOGETHER, learn: bool = True
) -> Groups:
    """The same with all slots of an encoding taken into account.

    Args:
        groups: their points are begun with.
        learn: whether the points change.
    """
    points, firsts, left = groups.points.copy(), groups.firsts, places.copy()
    chances = np.zeros((len(slots.rows), max(groups.sizes)), np.float32)
    shown = np.zeros((len(slots.rows), places.shape[1]), np.float32)  # of each slot, in its encoding
    scale = np.square(slots.weights)
    of_classes = [np.flatnonzero(slots.classes == label) for label in range(len(groups.sizes))]
    for step in range(steps):
        for label, mine in enumerate(of_classes):
            own = slice(firsts[label], firsts[label + 1])
            if not len(mine) or not groups.sizes[label]:
                continue
            rows = slots.rows[mine]
            seen = left[rows] + shown[mine]
            scores = _scores(seen, scale[mine], points[own])
            found = softmax(scores * np.float32(min(1.0, 0.3 + step / steps)))
            if learn:
                points[own] = _points(seen, scale[mine], found, strengths)
            shown[mine] = scale[mine, None] * (found @ points[own])
            left[rows] = seen - shown[mine]
            chances[mine, : groups.sizes[label]] = found
    return Groups(groups.sizes, points, chances)


def sizes_of(labels: Floats, count: int) -> list[int]:
    """How many of `count` images each class has, by what its labels sum to."""
    wanted = labels.sum(axis=0, dtype=np.float64) * count / max(float(labels.sum(dtype=np.float64)), LEAST)
    sizes = np.floor(wanted).astype(int)
    for label in np.argsort(sizes - wanted)[: count - int(sizes.sum())]:
        sizes[label] += 1
    return [int(size) for size in sizes]
