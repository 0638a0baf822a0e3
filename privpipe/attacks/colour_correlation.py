"""Find a key that reverses the colours of each pixel of all images alike and changes their order: no known pair.

All colours of all pixels rise and fall with the brightness of an image, so a reversed one (v becomes 255 - v) falls
where others rise. Neighbours are nearly equal, and red goes with red. Public images of the same kind (level L1) tell
what is left, which of all answers that differ in all pixels alike it is:

1. Signs are those of the leading eigenvector of the correlations between all values of an image.
2. Of each pixel, less the mean of its colours, the leading eigenvector tells which colour is which, from the warmest to
   the coldest, say; public images say in which order these are, one way or the other.
3. Correlations with the pixels around, at most `REACH` away, tell signs and order of each pixel anew, until nothing
   gets better. Of both ways, and both signs of all, the one is taken that makes thumbnails likeliest as public ones.

Attacks on such schemes from uploads alone are surveyed by W. Sirichotedumrong and H. Kiya, "Visual Security Evaluation
of Learnable Image Encryption Methods against Ciphertext-only Attacks", 2020, arXiv 2010.06198. The composition is our
own. The confidence is how far two halves of the uploads give the same key, beyond chance, times the part of the
correlations that the key explains.
"""

from itertools import permutations
from math import gcd, prod

import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.attacks.jigsaw import COARSE, MAX_IMAGES, Thumbnails
from privpipe.attacks.value_correlation import Found, equations_of, searched
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.equations import Permuted
from privpipe.perturb.values import Doubles, Floats

REACH = 2
MOST_COLOURS = 5  # all their orders are tried
POWERS = 30  # of a matrix, for its leading eigenvector
ROUNDS = 40
SIDES = (np.float32(1), np.float32(-1))  # as they are, or all negative
SMALL = 1e-6
Orders = NDArray[np.intp]  # of each pixel: which colour each value is, (pixels, C)
Signs = NDArray[np.float32]


class ColourCorrelation(Attack):
    """See the module. The key, and the targets without it."""

    name = "colour_correlation"
    levels = ("L1",)
    seeks_key = True
    order = 16

    def applies(self, method: Perturbation) -> bool:
        if method.blocks or method.scope != "dataset" or not method.undone_by_key:
            return False
        equations = equations_of(method)
        return isinstance(equations, Permuted) and equations.forms is not None

    def run(self, view: AdversaryView) -> Outcome:
        """Find the key and undo it.

        Raises:
            PrivpipeError: there are too few images, or too many colours.
        """
        return searched(self.name, view, matched)


def matched(method: Perturbation, uploads: Array, public: Images) -> Found:
    """The key that makes public images like uploads.

    Raises:
        PrivpipeError: there are too many colours, or what the key permutes are not the colours of a pixel.
    """
    equations, pixels, colours = method.key_equations(), prod(public.shape[1:3]), public.shape[3]
    assert isinstance(equations, Permuted)
    expected = equations.rows(public)
    if colours > MOST_COLOURS or expected.shape != (pixels, len(public), colours):
        raise PrivpipeError(f"it takes keys of the colours of each pixel, at most {MOST_COLOURS}.")
    match = Match(standard(equations.rows(uploads)), standard(expected), public.shape[1])
    answers = [(orders, signs * side) for orders, signs in match.answers() for side in SIDES]
    keys = [equations.key(orders.astype(np.int32), (signs < 0).astype(np.int32)) for orders, signs in answers]
    thumbnails = Thumbnails(public, gcd(public.shape[1], COARSE))
    errors = [thumbnails.error(thumbnails.of(method.invert(uploads[:MAX_IMAGES], key))) for key in keys]
    likeliest = int(np.argmin(errors))
    return Found([keys[likeliest]], match.explained(*answers[likeliest]))


def standard(rows: Doubles) -> Floats:
    """Values (pixels, N, C) in units of their deviation about their mean; nothing where they are all the same."""
    values = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(values / np.maximum(values.std(axis=1, keepdims=True), SMALL), np.float32)


def leading(values: Floats) -> Floats:
    """The leading eigenvector of the products of all values (pixels, N, C), summed over the images, (pixels, C)."""
    pixels, count, colours = values.shape
    flat = np.ascontiguousarray(values.transpose(1, 0, 2)).reshape(count, -1)
    vector = np.random.default_rng(0).normal(size=flat.shape[1]).astype(np.float32)
    for _ in range(POWERS):
        vector = flat.T @ (flat @ vector)
        vector /= max(float(np.linalg.norm(vector)), SMALL)
    return vector.reshape(pixels, colours)


class Match:
    """The search for orders and signs that make the correlations of neighbours `expected` what is `seen`.

    Args:
        seen, expected: as of `standard`.
        side: of an image, in pixels.
    """

    def __init__(self, seen: Floats, expected: Floats, side: int) -> None:
        self.seen, self.expected, self.side, self.colours = seen, expected, side, seen.shape[2]
        self.every = np.array(list(permutations(range(self.colours))))
        steps = range(-REACH, REACH + 1)
        self.pairs = [self.beside(dy, dx) for dy in steps for dx in steps if (dy, dx) > (0, 0)]
        self.tables = [
            tuple(one[a].swapaxes(1, 2) @ one[b] / one.shape[1] for one in (seen, expected)) for a, b in self.pairs
        ]
        self.strengths = [2 * sum(float(np.square(table[i]).sum()) for table in self.tables) for i in (0, 1)]

    def beside(self, dy: int, dx: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pixels, and those that lie so many rows and columns from them."""
        y, x = np.divmod(np.arange(self.side**2), self.side)
        inside = np.flatnonzero((y + dy >= 0) & (y + dy < self.side) & (x + dx >= 0) & (x + dx < self.side))
        return inside, inside + dy * self.side + dx

    def answers(self) -> list[tuple[Orders, Signs]]:
        """Orders and signs that fit, one way or the other, but for the sign of all."""
        return [self.refined(*start) for start in self.starts()]

    def starts(self) -> list[tuple[Orders, Signs]]:
        """Orders and signs by the leading eigenvectors."""
        signs = [np.where(leading(one) < 0, np.float32(-1), np.float32(1)) for one in (self.seen, self.expected)]
        if self.colours == 1:
            return [(np.zeros_like(signs[0], np.intp), signs[0] * signs[1])]
        warmth = []
        for one, sign in zip((self.seen, self.expected), signs, strict=True):
            upright = one * sign[:, None]
            warmth.append(leading(upright - upright.mean(axis=2, keepdims=True)))
        fits = (warmth[0][:, None] * warmth[1][:, self.every]).sum(axis=2)  # of each pixel, in each order
        orders = [self.every[way.argmax(axis=1)] for way in (fits, -fits)]
        return [(order, signs[0] * np.take_along_axis(signs[1], order, axis=1)) for order in orders]

    def products(self, orders: Orders, signs: Signs) -> Floats:
        """How well each value of a pixel is each colour, by all pixels around, (pixels, C, C)."""
        out = np.zeros((len(orders), self.colours, self.colours), np.float32)
        for (a, b), (seen, expected) in zip(self.pairs, self.tables, strict=True):
            others = np.take_along_axis(expected, orders[b][:, None], axis=2)
            out[a] += (seen * signs[b][:, None]) @ others.swapaxes(1, 2)
            others = np.take_along_axis(expected, orders[a][:, :, None], axis=1)
            out[b] += (seen * signs[a][:, :, None]).swapaxes(1, 2) @ others
        return out

    def fit(self, products: Floats, orders: Orders, signs: Signs) -> float:
        """How well all values are the colours that `orders` and `signs` say."""
        return float((np.take_along_axis(products, orders[:, :, None], axis=2)[:, :, 0] * signs).sum())

    def refined(self, orders: Orders, signs: Signs) -> tuple[Orders, Signs]:
        """Orders and signs, as long as the pixels around make them better."""
        products = self.products(orders, signs)
        best, fit = (orders, signs), self.fit(products, orders, signs)
        for _ in range(ROUNDS):
            fits = np.abs(products)[:, np.arange(self.colours), self.every].sum(axis=2)
            orders = self.every[fits.argmax(axis=1)]
            turned = np.take_along_axis(products, orders[:, :, None], axis=2)[:, :, 0] < 0
            signs = np.where(turned, np.float32(-1), np.float32(1))
            products = self.products(orders, signs)
            before, fit = fit, self.fit(products, orders, signs)
            if fit <= before:
                break
            best = orders, signs
        return best

    def explained(self, orders: Orders, signs: Signs) -> float:
        """The part of the correlations that an answer explains, at most 1: 1 less its squared error, of them all."""
        if self.strengths[1] <= SMALL:
            return 0.0
        fit = self.fit(self.products(orders, signs), orders, signs)
        return (2 * fit - self.strengths[0]) / self.strengths[1]
