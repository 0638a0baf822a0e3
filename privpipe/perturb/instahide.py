"""InstaHide: mixtures of several images under random signs, with mixed labels.

Y. Huang, Z. Song, K. Li and S. Arora, "InstaHide: Instance-hiding Schemes for Private Distributed Learning" (ICML 2020,
arXiv 2010.02772). With images in units where black is -1 and white 1, an encoding is

    s ∘ (w_1 x_1 + ... + w_k x_k),        its label  w_1 e(y_1) + ... + w_p e(y_p),

s of random signs, one for each pixel and colour, the first p of the k images private and the others public, e(y) the
unit vector of class y. Public images have no labels, so a label sums to the weight of the private ones. Weights are
uniform in 0..1 over their sum, drawn again until none is over `largest` (the paper's c1 = 0.65) and, where there are
public images, those of the private ones sum to `private_least` at least (c2 = 0.3). "Inside" is k = p = 4, "cross" is
p = 2 and k = 6. The authors' code takes absolute values of normal numbers in place of uniform ones.

Each pass has one encoding around each private image; the others of it follow from p - 1 random orders of the set, so
that an image is in p encodings of each pass. The paper makes a pass for each epoch of training. A release is a fixed
number of passes (`encodings`), all of them at once, whose rows are in random order: epochs go over the same encodings.

Nothing is guaranteed: N. Carlini et al., "Is Private Learning Possible with Instance Encoding?" (IEEE S&P 2021, arXiv
2011.05315) recovered the images of the authors' challenge; `privpipe.attacks.unmixing` does so here.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb.keystream import KeyStream, below, order
from privpipe.perturb.method import Drawing
from privpipe.perturb.release import LEAST_PUBLIC, Arrays, Labelled, Labels, SetRelease
from privpipe.perturb.settings import Settings, setting
from privpipe.perturb.values import Doubles, Floats, Images

FORM = "soft_encodings"
ENCODINGS, LABELS = "encodings", "labels"
ORDER_BYTES, WEIGHT_BYTES = 8, 4  # of one number
WHITE = 255
ROWS = 1024  # encodings that are made at a time
MOST_ATTEMPTS = 10_000  # of drawing weights
STRANGER = KeyStream(hashlib.sha256(b"instahide, a key that stands for others").digest())
LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class Plan:
    """Which images are in each encoding, in the order of the release.

    Args:
        private: rows of the private images, int32 (E, p).
        public: rows of the public ones, int32 (E, k - p).
        weights: of both in turn, float32 (E, k); each row sums to 1.
    """

    private: NDArray[np.int32]
    public: NDArray[np.int32]
    weights: Floats

    def labels(self, labels: Labels, classes: int) -> Floats:
        """Soft labels, float32 (E, classes)."""
        out = np.zeros((len(self.weights), classes), np.float32)
        rows = np.arange(len(out))
        for j in range(self.private.shape[1]):
            out[rows, labels[self.private[:, j]]] += self.weights[:, j]
        return out

    def mixed(self, private: Images, public: Images, rows: slice) -> Floats:
        """The mixtures of some rows before they get their signs, float32 (n, H*W*C) in -1..1.

        One product and one sum after the other: the same on every machine.
        """
        count = self.private.shape[1]
        parts = [(private, self.private[rows, j]) for j in range(count)]
        parts += [(public, self.public[rows, j]) for j in range(self.public.shape[1])]
        total = np.zeros((len(parts[0][1]), private[0].size), np.float32)
        for j, (images, chosen) in enumerate(parts):
            total += self.weights[rows, j, None] * images[chosen].reshape(total.shape)
        total *= np.float32(2 / WHITE)
        total -= 1  # what the weights sum to
        return total


@dataclass(frozen=True)
class Instahide(SetRelease):
    """Encodings with soft labels, for a network to be trained on; queries stay at home, as they are.

    Args:
        mixing: k, images in an encoding.
        mixing_public: how many of them are public.
        encodings: passes, of one encoding around each private image.
        largest: weight of a place of an encoding; an image that is drawn for two of them may have more.
        private_least: what the weights of the private images sum to at least, where there are public ones.
    """

    mixing: float = setting(4, "images in an encoding", least=2, most=16, whole=True)
    mixing_public: float = setting(0, "of these, public ones", least=0, most=15, whole=True)
    encodings: float = setting(5, "encodings made around each private image", least=1, most=1000, whole=True)
    largest: float = setting(0.65, "greatest weight of one place in an encoding", above=0, most=1)
    private_least: float = setting(0.3, "least sum of the weights of the private images", least=0, most=0.9)

    name = "instahide"
    summary = "mixtures of several images under random signs leave, with mixed labels, for a network to be trained on"
    form = FORM
    trained = True
    forgets = False
    colour = "#e53e3e"
    not_exactly = "weights are of a continuum, and nobody has summed the probabilities of encodings"
    not_at_most = "no noise is added: other images stand for it, and no theorem limits what encodings tell"
    adds_up = "the same images under the same settings are encoded to the same bytes; other settings encode them again"
    advice = (
        "Do not upload what must stay private: whoever drops the signs and sorts the encodings by the images that they "
        "share gets the images back."
    )

    @property
    def guarantee(self) -> str:
        return "none: the signs fall with absolute values, and no theorem limits what mixtures tell of an image."

    @property
    def n_private(self) -> int:
        """p, private images in an encoding."""
        return int(self.mixing - self.mixing_public)

    @classmethod
    def setting_problems(cls, scope: str, sigma: float, settings: Settings) -> list[str]:
        problems = super().setting_problems(scope, sigma, settings)
        if problems:
            return problems
        one = cls(1, **settings)
        if one.n_private < 1:
            problems.append(
                f"perturb.mixing_public must be less than perturb.mixing={one.mixing:g}, so that a private image is in "
                f"an encoding; got {one.mixing_public:g}. Use {one.mixing - 1:g} or less."
            )
        if one.largest * one.mixing < 1.2:
            problems.append(
                f"perturb.largest must leave room for the weights of {one.mixing:g} images, {1.2 / one.mixing:.3g} or "
                f"more; got {one.largest:g}. Use 0.65, for example."
            )
        return problems

    @classmethod
    def needs_public(cls, settings: Settings) -> bool:
        return settings.get("mixing_public", 0) > 0

    def release(
        self, private: Labelled, public: Images, public_labels: Labels | None, classes: int, stream: KeyStream
    ) -> Arrays:
        if self.mixing_public and len(public) < LEAST_PUBLIC:
            raise PrivpipeError(
                f"{self.name} mixes public images in, at least {LEAST_PUBLIC}; got {len(public)}. Raise data.public, "
                "or set perturb.mixing_public=0."
            )
        plan = self.plan(len(private.labels), len(public), stream)
        shape = private.images.shape[1:]
        out = np.empty((len(plan.weights), *shape), np.float16)
        for start in range(0, len(out), ROWS):
            rows = slice(start, start + ROWS)
            mixed = plan.mixed(private.images, public, rows)
            bits = np.unpackbits(stream.child("signs", start).shared(-(-mixed.size // 8))[0], count=mixed.size)
            np.negative(mixed, out=mixed, where=bits.reshape(mixed.shape).astype(bool))
            out[rows] = mixed.reshape(-1, *shape)
        return {ENCODINGS: out, LABELS: plan.labels(private.labels, classes)}

    def members(self, count: int, public: int, stream: KeyStream) -> NDArray[np.int32]:
        return self.plan(count, public, stream).private

    def plan(self, count: int, public: int, stream: KeyStream) -> Plan:
        """What is mixed with what, for so many private and public images."""
        passes, others, total = int(self.encodings), self.n_private - 1, count * int(self.encodings)
        chosen = np.tile(np.arange(count, dtype=np.int32), passes)[:, None]
        if others:
            drawn = stream.child("others").shared(ORDER_BYTES * total * others)
            orders = order(drawn.reshape(passes, others, -1))  # (passes, others, count)
            chosen = np.concatenate([chosen, orders.swapaxes(1, 2).reshape(total, others)], axis=1)
        shape = (total, int(self.mixing_public))
        drawn = stream.child("public").shared(ORDER_BYTES * shape[0] * shape[1])
        strangers = below(drawn, public).reshape(shape) if shape[1] else np.empty(shape, np.int32)
        rows = order(stream.child("order").shared(ORDER_BYTES * total))[0]
        return Plan(chosen[rows], strangers[rows], self._weights(total, stream.child("weights"))[rows])

    def _weights(self, count: int, stream: KeyStream) -> Floats:
        """Weights, float32 (count, k)."""
        out, left = np.empty((count, int(self.mixing)), np.float32), np.arange(count)
        for attempt in range(MOST_ATTEMPTS):
            drawn = stream.child(attempt).shared(WEIGHT_BYTES * len(left) * out.shape[1])
            weights = (drawn.view("<u4").reshape(len(left), -1) + 0.5) / 2.0**32
            weights /= summed(weights)[:, None]
            legal = weights.max(axis=1) <= self.largest
            if self.mixing_public:
                legal &= summed(weights[:, : self.n_private]) >= self.private_least
            out[left[legal]] = weights[legal]
            left = left[~legal]
            if not len(left):
                return out
        raise PrivpipeError(
            f"no weights of {self.mixing:g} images were found with perturb.largest={self.largest:g} and "
            f"perturb.private_least={self.private_least:g}. Use 0.65 and 0.3, as the paper has them."
        )

    def identified(self, released: Arrays, candidates: Labelled, targets: int) -> float:
        """For a single encoding around a target, whose weight is known: the most likely candidate, by absolute values.

        The other images of it, also the public ones, are of the candidates too; to the adversary they are normal with
        the mean and the variance of each pixel.
        """
        plan = self.plan(len(candidates.labels), len(candidates.labels), STRANGER)
        values = signed(candidates.images)
        mean, spread = values.mean(axis=0), values.var(axis=0)
        around = {int(i): row for row, i in enumerate(plan.private[:, 0]) if i < targets}  # one of the encodings
        right = 0.0
        for label in np.unique(candidates.labels[:targets]):
            class_ = np.flatnonzero(candidates.labels == label)
            for target in class_[class_ < targets]:
                row = around[int(target)]
                seen = np.abs(plan.mixed(candidates.images, candidates.images, slice(row, row + 1)))[0]
                others = plan.weights[row, 1:]
                weight, left = float(plan.weights[row, 0]), float(others.sum())
                variance = np.maximum(float(np.square(others).sum()) * spread, LEAST_SPREAD)
                likely = folded_likelihood(seen, weight * values[class_] + left * mean, variance)
                true = likely[np.searchsorted(class_, target)]
                right += float((likely <= true).all() / (likely == true).sum())
        return right / len(candidates.labels[:targets])

    def drawing(self) -> Drawing:
        kinds = f"{self.n_private} private and {self.mixing_public:g} public images"
        return Drawing(f"{self.name}: {kinds} mixed, signs at random\n{self.encodings:g} encodings around each image")


def signed(images: Images) -> Floats:
    """Images as vectors in units where black is -1 and white 1, float32 (n, H*W*C)."""
    values = images.reshape(len(images), -1).astype(np.float32)
    values *= 2
    values -= WHITE
    values /= WHITE
    return values


def summed(values: Doubles) -> Doubles:
    """Sums of rows, from the first to the last value: the same on every machine."""
    total = values[:, 0].copy()
    for j in range(1, values.shape[1]):
        total += values[:, j]
    return total


def folded_likelihood(seen: Floats, means: Floats, variance: Floats) -> Doubles:
    """Logarithm of the likelihood of absolute values, up to a constant, (n,).

    Args:
        seen: |y|, (d,), y independent and normal.
        means, variance: of y, (n, d) and (d,).
    """
    product = np.abs(means * (seen / variance))
    values = product + np.log1p(np.exp(-2 * product)) - means**2 / (2 * variance)
    return np.asarray(values.sum(axis=1, dtype=np.float64))
