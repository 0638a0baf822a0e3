"""Undo InstaHide: drop the signs, sort encodings by the images that they share, and solve for these.

After N. Carlini et al., "Is Private Learning Possible with Instance Encoding?" (IEEE S&P 2021, arXiv 2011.05315):

1. Absolute values of encodings do not depend on the signs.
2. Encodings that share an image are alike, by a measure that is learned on public images which the adversary encodes
   (`privpipe.attacks.shared_images`). Carlini et al. train a deep network, here it is a linear one on squares. Labels
   tell the weights of the images, and of which class each is.
3. Slots of encodings are assigned to as many images as there are.
4. The images are those whose mixtures come nearest to the encodings but for the signs (`privpipe.attacks.folded`), in
   place of descent by gradients: expectation and maximisation with the images of everybody as prior. Where all images
   of encodings are private, slots are assigned anew with the images, and so on.

Used are the encodings whose label names as many classes as there are private images in them, since of others the
weights are not known one by one: with ten classes half of those of four images, nine tenths of those of two.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.base import Budget, Outcome
from privpipe.attacks.folded import Mixtures, Prior, Regression, compared, reassigned
from privpipe.attacks.set_attack import SetAttack, SetView
from privpipe.attacks.shared_images import Discriminant, Groups, Slots, features, grouped, learned, sizes_of, together
from privpipe.errors import PrivpipeError
from privpipe.perturb.instahide import ENCODINGS, FORM, LABELS, WHITE, Instahide
from privpipe.perturb.keystream import KeyStream
from privpipe.perturb.values import Floats

LEAST_PUBLIC, MOST_IMAGES, LEAST_ENCODINGS = 100, 2000, 100
HELD_OUT, MOST_HELD_OUT = 10, 500  # every tenth encoding
CANDIDATES = 20  # images of its class that a slot may turn out to hold
ROUNDS, SPREADING, SETTLED = 8, 4, 0.005  # of assigning and solving; the first so many spread anew; slots that move
SPREADS = 2  # in each of these
POLISHING = 4  # steps at all pixels
NOISE, LEAST_NOISE, OF_WHAT_IS_LEFT = 0.01, 2e-4, 0.7  # variance of what no image explains, at first and then
SAMPLE = 4096  # weights that are drawn to know what they are like
Assigned = NDArray[np.intp]


class Unmixing(SetAttack):
    """See the module. Images of the set in any order, and which of them each encoding holds.

    Confidence: a tenth of the encodings, 500 at most, is not learned from. For each of these, and for its mirror image,
    which is as natural, the best images are chosen; how much more often those explain the encoding better than those
    of the mirror image explain that, as a fraction: 0 where nothing was found, 1 where always.
    """

    name = "unmixing"
    levels = ("L1",)
    forms = (FORM,)
    order = 50

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @classmethod
    def within(cls, budget: Budget) -> "Unmixing":
        return cls(budget.seed)

    def run(self, view: SetView) -> Outcome:
        method, public = view.release, view.public
        if not isinstance(method, Instahide):
            raise PrivpipeError(f"unmixing is for instahide; got {method.name}. Use another attack.")
        if public is None or len(public) < LEAST_PUBLIC:
            got = 0 if public is None else len(public)
            raise PrivpipeError(
                f"unmixing learns from at least {LEAST_PUBLIC} public images; got {got}. Raise data.public."
            )
        labels = view.numbers[LABELS].astype(np.float32)
        encodings = view.numbers[ENCODINGS]
        count = len(labels) // int(method.encodings)
        if count > MOST_IMAGES:
            raise PrivpipeError(
                f"unmixing solves for up to {MOST_IMAGES:,} images together; {count:,} are in the release. Use fewer."
            )
        slots = Slots.of(labels, method.n_private)
        if len(slots.rows) < LEAST_ENCODINGS * method.n_private:
            raise PrivpipeError(
                f"unmixing needs {LEAST_ENCODINGS} encodings whose label names {method.n_private} classes; got "
                f"{len(slots.rows) // method.n_private}. Use images of more classes, or more of them."
            )
        absolute = np.abs(encodings.reshape(len(encodings), -1).astype(np.float32))
        work = _Work(method, absolute, labels, slots, view.about.shape, count, learned(method, public, self.seed))
        found = work.solved(Prior.of(public), self.seed)
        about, prior = found.about, found.mixtures.prior
        images = (prior.mean + about + 1) * np.float32(WHITE / 2)
        key, confidence = work.judged(found)
        return Outcome(np.clip(images, 0, np.float32(WHITE)).reshape(-1, *view.about.shape), confidence, key)


@dataclass(frozen=True)
class _Found:
    """What is believed of the encodings that were learned from: their images, about the mean, and which each holds."""

    mixtures: Mixtures
    groups: Groups
    about: Floats
    assigned: Assigned


@dataclass(frozen=True)
class _Work:
    """Encodings with what is known of them; see `Mixtures` and `Slots`."""

    method: Instahide
    absolute: Floats
    labels: Floats
    slots: Slots
    shape: tuple[int, int, int]
    count: int
    discriminant: Discriminant

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which encodings are not learned from, (E,)."""
        out = np.zeros(len(self.absolute), bool)
        out[np.arange(0, len(out), HELD_OUT)[:MOST_HELD_OUT]] = True
        return out

    def mixtures(self, absolute: Floats, slots: Slots, prior: Prior) -> Mixtures:
        public = np.maximum(1 - self.labels.sum(axis=1), 0)
        return Mixtures(absolute, self.shape, slots, public, uneven(self.method), prior, NOISE)

    def places(self, absolute: Floats) -> Floats:
        return self.discriminant.places(features(absolute, self.shape))

    def solved(self, prior: Prior, seed: int) -> _Found:
        """Assign, solve, assign anew, ..."""
        slots, places = self.slots.among(~self.held_out), self.places(self.absolute)
        groups = grouped(places, slots, self.discriminant.strengths, sizes_of(self.labels, self.count), seed)
        mixtures = self.mixtures(self.absolute, slots, prior)
        candidates, assigned, trust = likeliest(groups, slots)
        about: Floats | None = None
        for number in range(ROUNDS if self.inside else SPREADING):
            regression = Regression(mixtures, assigned, trust, self.count)
            rng, chosen = np.random.default_rng((seed, number)), compared(self.shape)
            starts = [regression.spread_out(rng) for _ in range(SPREADS if number < SPREADING else 0)]
            starts += [about] if about is not None else []
            tried = [regression.polished(start, POLISHING) for start in starts]
            best = max(tried, key=lambda one: regression.likelihood(one, chosen))
            about = prior.filtered(prior.upright(best), regression.errors)
            if self.inside:
                before, left = assigned, regression.left(best, chosen)
                assigned, trust = reassigned(mixtures, about, assigned, candidates, self.labels.shape[1])
                mixtures = replace(mixtures, noise=max(OF_WHAT_IS_LEFT * left, LEAST_NOISE))
                if number >= SPREADING and (assigned != before).mean() < SETTLED:
                    break
        assert about is not None
        return _Found(mixtures, groups, about, assigned)

    @property
    def inside(self) -> bool:
        """Whether all images of encodings are sought, so that pixels tell them apart. What public images add is smooth:
        pixels are then far from independent, and the groups are right more often."""
        return not self.method.mixing_public

    def judged(self, found: _Found) -> tuple[NDArray[Any], float]:
        """Which images each encoding holds, int32 (E, p), -1 where it is not known; and the confidence."""
        held = self.slots.among(self.held_out)
        mirrored = self.absolute.reshape(-1, *self.shape)[:, :, ::-1].reshape(self.absolute.shape)
        assigned, likeness = self.explained(found, held, self.absolute)
        other = self.explained(found, held, mirrored)[1]
        rows = np.unique(held.rows)
        better = float((likeness[rows] > other[rows]).mean()) if len(rows) else 0.5
        key = np.full((len(self.absolute), self.method.n_private), -1, np.int32)
        for slots, images in ((found.mixtures.slots, found.assigned), (held, assigned)):
            key[slots.rows, places_in(slots.rows)] = images
        return key, max(0.0, 2 * better - 1)

    def explained(self, found: _Found, slots: Slots, absolute: Floats) -> tuple[Assigned, Floats]:
        """The best images of some encodings, and how well they explain each, (E,)."""
        places, strengths = self.places(absolute), self.discriminant.strengths
        candidates, assigned, _ = likeliest(together(places, slots, strengths, found.groups, 5, learn=False), slots)
        mixtures = replace(found.mixtures, absolute=absolute, slots=slots)
        for _ in range(2 if self.inside else 0):
            assigned = reassigned(mixtures, found.about, assigned, candidates, self.labels.shape[1])[0]
        chosen = compared(self.shape)
        shown = mixtures.prior.mean[chosen] + mixtures.weights(assigned, self.count) @ found.about[:, chosen]
        one, two = (values - values.mean(axis=1, keepdims=True) for values in (np.abs(shown), absolute[:, chosen]))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        return assigned, np.asarray((one * two).sum(axis=1) / np.maximum(lengths, 1e-9), np.float32)


def places_in(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which of the slots of its encoding each is: 0, 1, ...; `rows` rise."""
    first = np.searchsorted(rows, rows)
    return np.asarray(np.arange(len(rows)) - first)


def likeliest(groups: Groups, slots: Slots) -> tuple[Assigned, Assigned, Floats]:
    """Images that each slot may hold, the likeliest first, (S, n), then -1; the first of them, and its chance."""
    sizes, firsts = np.array(groups.sizes)[slots.classes], groups.firsts[:-1][slots.classes]
    order = np.argsort(-groups.chances, axis=1, kind="stable")[:, :CANDIDATES]
    candidates = np.where(order < sizes[:, None], firsts[:, None] + order, -1)
    return candidates, firsts + order[:, 0], groups.chances[np.arange(len(order)), order[:, 0]]


def uneven(method: Instahide) -> float:
    """Mean of the sum of squared weights of public images over the square of their sum; 0 without public images."""
    if not method.mixing_public:
        return 0.0
    plan = replace(method, encodings=1).plan(SAMPLE, SAMPLE, KeyStream(bytes(32), ("unmixing", "weights")))
    weights = plan.weights[:, method.n_private :].astype(np.float64)
    return float((np.square(weights).sum(axis=1) / np.square(weights.sum(axis=1))).mean())
