"""Images from absolute values of mixtures of them, the weights known: regression with folded normal noise.

For `privpipe.attacks.unmixing`. An encoding is |y|, y = m + sum over the images in it of w (x - m) + noise, x an image,
m the mean image. Given which images are in which encodings, every pixel is a regression whose signs are lost. By
expectation and maximisation: the expected sign of y is tanh(prediction · |y| / variance), and the images follow from
signs times |y| by a ridge regression, whose matrix is the same for all pixels.

At each pixel all signs may be turned together, and many signs fit nearly as well. So one pixel is solved from many
starts, and its neighbours from its own solution, as neighbours are alike: along a column, then column by column. What
is left is one sign for all images together, for which the mean of public images decides.

Pixels have been solved by themselves then; the estimates are brought together by what public images tell of how pixels
vary together (a Wiener filter), as far as each image is uncertain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from privpipe.attacks.shared_images import LEAST, Slots, softmax
from privpipe.perturb.base import Images
from privpipe.perturb.instahide import signed
from privpipe.perturb.values import Doubles, Floats

MOST_PUBLIC, COMPONENTS = 2000, 400
STARTS, FIRST_STEPS, NEIGHBOUR_STEPS = 12, 60, 7
WEAK = 3.0  # the prior of a pixel is so many times wider than public images are, as the filter comes after
TRUSTED = 0.02  # chance that all images of an encoding are right, from which on it is learned from
COLUMNS = 512  # values at a time
TEMPERED = 0.1  # of log-likelihoods that take neighbouring pixels for independent
VALUES = 800  # of an encoding that are compared


@dataclass(frozen=True)
class Prior:
    """What public images are like, in units where black is -1.

    Args:
        mean, variances: of each value, (d,).
        basis: principal components, (d, n); along: variances along these, (n,); across: elsewhere.
    """

    mean: Floats
    variances: Floats
    basis: Floats
    along: Floats
    across: float

    @classmethod
    def of(cls, public: Images) -> "Prior":
        values = signed(public[:MOST_PUBLIC])
        mean, variances = values.mean(axis=0), values.var(axis=0)
        values -= mean
        strengths, vectors = np.linalg.eigh(values @ values.T / len(values))
        count = min(COMPONENTS, len(values) // 2)
        strengths, vectors = strengths[::-1][:count], vectors[:, ::-1][:, :count]
        basis = values.T @ vectors / np.sqrt(np.maximum(strengths, LEAST) * len(values))
        across = max((float(variances.sum()) - float(strengths.sum())) / max(1, values.shape[1] - count), LEAST)
        return cls(mean, variances, basis.astype(np.float32), np.maximum(strengths, LEAST).astype(np.float32), across)

    def filtered(self, about: Floats, errors: Floats) -> Floats:
        """Images about the mean (N, d), each with errors of a variance (N,), as they most likely are."""
        error = errors[:, None]
        inside = about @ self.basis
        rest = about - inside @ self.basis.T
        likely = (inside * (self.along / (self.along + error))) @ self.basis.T
        return np.asarray(likely + rest * (self.across / (self.across + error)), np.float32)

    def upright(self, about: Floats) -> Floats:
        """The images, or with all signs turned, as the mean of public images says."""
        direction = self.basis @ ((self.basis.T @ self.mean) / self.along)
        turned = float(((self.mean + about) @ direction).sum()) < 0
        return -about - 2 * self.mean if turned else about


@dataclass(frozen=True)
class Mixtures:
    """Encodings of which it is known how much of each image is in them.

    Args:
        absolute: |y|, (E, d).
        shape: (H, W, C) of images.
        slots: the places of private images in them.
        public: weight of the public images in each, (E,).
        uneven: sum of squared weights of public images over the square of their sum; 0 without.
        prior: of images.
        noise: variance of what no image explains.
    """

    absolute: Floats
    shape: tuple[int, int, int]
    slots: Slots
    public: Floats
    uneven: float
    prior: Prior
    noise: float

    @property
    def variances(self) -> Floats:
        """Of the noise of each encoding, (E,)."""
        of_public = np.square(self.public) * np.float32(self.uneven * self.prior.variances.mean())
        return np.asarray(of_public + np.float32(self.noise), np.float32)

    def weights(self, assigned: NDArray[np.intp], count: int) -> sparse.csr_array:
        """Of each image in each encoding, (E, N)."""
        slots, form = self.slots, (len(self.absolute), count)
        return sparse.csr_array((slots.weights, (slots.rows, assigned)), shape=form, dtype=np.float32)


class Regression:
    """All pixels, with the images in each slot given.

    Args:
        assigned: image of each slot, (S,); `trust`: how likely each is right, (S,).
        count: images.
    """

    def __init__(self, mixtures: Mixtures, assigned: NDArray[np.intp], trust: Floats, count: int) -> None:
        whole = np.zeros(len(mixtures.absolute))
        whole[mixtures.slots.rows] = 1
        np.multiply.at(whole, mixtures.slots.rows, trust)
        self.rows = np.flatnonzero(whole >= TRUSTED)
        self.mixtures, self.count, self.variances = mixtures, count, mixtures.variances[self.rows, None]
        self.weights = mixtures.weights(assigned, count)[self.rows]
        scaled = sparse.diags_array((whole[self.rows] / self.variances[:, 0]).astype(np.float32)) @ self.weights
        self.scaled = sparse.csr_array(scaled.T, dtype=np.float32)
        ridge = 1 / (WEAK * float(mixtures.prior.variances.mean()))
        gram = (self.scaled @ self.weights).toarray().astype(np.float64) + ridge * np.eye(count)
        self.inverse = np.linalg.inv(gram).astype(np.float32)

    @property
    def errors(self) -> Floats:
        """Variance of each image's error at a pixel, (N,)."""
        return np.asarray(np.diag(self.inverse))

    def solve(self, about: Floats, columns: NDArray[np.intp], steps: int) -> Floats:
        """Images about the mean at some values, (N, n), from others that they are alike."""
        seen, mean = self.mixtures.absolute[np.ix_(self.rows, columns)], self.mixtures.prior.mean[columns]
        ratio = seen / self.variances
        for _ in range(steps):
            signs = np.tanh((self.weights @ about + mean) * ratio)
            about = self.inverse @ (self.scaled @ (signs * seen - mean))
        return np.asarray(about, np.float32)

    def polished(self, about: Floats, steps: int) -> Floats:
        """`solve` at all values."""
        out, parts = np.empty_like(about), range(0, about.shape[1], COLUMNS)
        for start in parts:
            columns = np.arange(start, min(start + COLUMNS, about.shape[1]))
            out[:, columns] = self.solve(about[:, columns], columns, steps)
        return out

    def left(self, about: Floats, columns: NDArray[np.intp]) -> float:
        """Mean of squares of what absolute values are not explained."""
        predicted = np.abs(self.mixtures.prior.mean[columns] + self.weights @ about[:, columns])
        return float(np.square(predicted - self.mixtures.absolute[np.ix_(self.rows, columns)]).mean(dtype=np.float64))

    def likelihood(self, about: Floats, columns: NDArray[np.intp]) -> float:
        """Mean log-likelihood of absolute values, up to a constant."""
        predicted = self.mixtures.prior.mean[columns] + self.weights @ about[:, columns]
        product = np.abs(predicted * (self.mixtures.absolute[np.ix_(self.rows, columns)] / self.variances))
        values = product + np.log1p(np.exp(-2 * product)) - predicted**2 / (2 * self.variances)
        return float(values.mean(dtype=np.float64))

    def spread_out(self, rng: np.random.Generator) -> Floats:
        """Images about the mean, (N, d), from one pixel, not at the border, over all others."""
        height, width, channels = self.mixtures.shape
        places = np.arange(height * width * channels).reshape(height, width, channels)
        row, column = (int(rng.integers(side // 4, side - side // 4)) for side in (height, width))
        out = np.zeros((self.count, places.size), np.float32)
        middle, best = places[row, column], (np.inf, out[:, :channels])
        for _ in range(STARTS):
            grey = np.repeat(rng.normal(0, 0.5, (self.count, 1)), channels, axis=1).astype(np.float32)
            out[:, middle] = self.solve(grey, middle, FIRST_STEPS)
            best = min(best, (self.left(out, middle), out[:, middle]), key=lambda pair: pair[0])
        out[:, middle] = best[1]
        for line, at in ((places[:, column], row), (places.swapaxes(0, 1).reshape(width, -1), column)):
            for this, before in [(i, i - 1) for i in range(at + 1, len(line))] + [
                (i, i + 1) for i in range(at - 1, -1, -1)
            ]:
                out[:, line[this]] = self.solve(out[:, line[before]], line[this], NEIGHBOUR_STEPS)
        return out


def compared(shape: tuple[int, int, int]) -> NDArray[np.intp]:
    """Places of the values by which encodings are compared with images."""
    height, width, channels = shape
    step = max(1, round((height * width * channels / VALUES) ** 0.5))
    return np.arange(height * width * channels).reshape(shape)[::step, ::step].ravel()


def reassigned(
    mixtures: Mixtures, about: Floats, assigned: NDArray[np.intp], candidates: NDArray[np.intp], classes: int
) -> tuple[NDArray[np.intp], Floats]:
    """The likeliest image of each slot and its chance, by absolute values at some pixels, class after class.

    Args:
        candidates: images that a slot may hold, (S, n); -1 where there are fewer.
    """
    chosen, slots = compared(mixtures.shape), mixtures.slots
    images, mean, assigned = about[:, chosen], mixtures.prior.mean[chosen], assigned.copy()
    predicted = mean + mixtures.weights(assigned, len(about)) @ images
    trust = np.ones(len(assigned), np.float32)
    for label in range(classes):
        mine = np.flatnonzero(slots.classes == label)
        rows, weights = slots.rows[mine], slots.weights[mine, None]
        others = predicted[rows] - weights * images[assigned[mine]]
        variance = mixtures.variances[rows, None]
        ratio, scores = mixtures.absolute[np.ix_(rows, chosen)] / variance, np.empty((len(mine), candidates.shape[1]))
        for j in range(candidates.shape[1]):
            means = others + weights * images[candidates[mine, j]]
            product = np.abs(means * ratio)
            scores[:, j] = (product + np.log1p(np.exp(-2 * product)) - means**2 / (2 * variance)).sum(axis=1)
        _take(TEMPERED * scores, candidates, mine, assigned, trust)
        predicted[rows] = others + weights * images[assigned[mine]]
    return assigned, trust


def _take(
    scores: Doubles,
    candidates: NDArray[np.intp],
    mine: NDArray[np.intp],
    assigned: NDArray[np.intp],
    trust: Floats,
) -> None:
    scores = np.where(candidates[mine] < 0, -np.inf, scores)
    chances, best = softmax(scores.astype(np.float32)), scores.argmax(axis=1)
    assigned[mine], trust[mine] = candidates[mine, best], chances[np.arange(len(mine)), best]
