"""Find a key that changes the values of the blocks of all images, from how values go together: no known pair.

Values at two places of a block, or of blocks side by side, correlate; a permutation moves these correlations, and a
reversal (v becomes 255 - v, or 15 - v of nibbles) turns their sign. Public images of the same kind have the same
correlations in the right order (level L1), so that the key is what makes one table the other:

1. Places are matched by the absolute values of their correlations within a block and by their spread (quadratic
   assignment: Vogelstein et al., "Fast Approximate Quadratic Programming for Graph Matching", PLOS ONE 2015). Blocks
   that are turned or mirrored fit as well, so all of these are tried.
2. Signs are those of the leading eigenvector of the products of both tables; means tell the sign of all together.
3. Correlations with the blocks to the right and below tell the places anew, by a linear assignment, until nothing
   changes. Of all answers the one with the smallest squared differences is taken.

Where blocks change places as well, correlations within a block are all there is to steps 1 to 3, either of all blocks
(block_pixel_shuffle) or, where each place has a key of its own, of each (extended_learnable_encryption), compared with
those of all public blocks. This finds the values of a block but for its form: turned, mirrored, negative or recoloured.
What is left is the puzzle of encryption_then_compression, which `privpipe.attacks.jigsaw` solves.

Where no value changes its place step 2 is all. Lower nibbles correlate with next to nothing: these are not found.

A bijection of values at some places (`Substituted`) changes how often each value is there, which tells the places. The
brighter a value, the brighter on average what stands at the other places of the block, which tells their order.

Attacks on such schemes from uploads alone are surveyed by W. Sirichotedumrong and H. Kiya, "Visual Security Evaluation
of Learnable Image Encryption Methods against Ciphertext-only Attacks", 2020, arXiv 2010.06198. The composition is our
own. The confidence is how far two halves of the uploads give the same key, beyond chance and up to a mirror image of
all, times the part that the key explains of how correlations differ from their mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import linear_sum_assignment, quadratic_assignment

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.attacks.jigsaw import Puzzle, WholeForms
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.block_forms import block_forms
from privpipe.perturb.equations import Equations, Nested, Permuted, Substituted
from privpipe.perturb.values import Doubles, pixel_values

Places = NDArray[np.intp]
MOST_VALUES = 1 << 23  # of images that correlations are measured on
MOST_PLACES = 400  # that may change: time grows with their third power
STARTS, OWN_STARTS = 12, 16  # of a search; of that of each block, where these have keys of their own
CLOSE = 0.01
NATURAL = 2  # forms of a whole image that public images may not tell apart: mirror images
ROUNDS = 40
SPREAD = 3.0  # how a difference of deviations counts beside one of correlations, in units of the largest
MIN_IMAGES = 4  # two in each half
LEVELS = 256
SMALL = 1e-6


class ValueCorrelation(Attack):
    """See the module. The key, and the targets without it."""

    name = "value_correlation"
    levels = ("L1",)
    seeks_key = True
    order = 15

    def applies(self, method: Perturbation) -> bool:
        if method.scope != "dataset" or not method.undone_by_key:
            return False
        equations = equations_of(method)
        if isinstance(equations, Nested):
            return 1 < method.k < method.image_size
        return method.alike and isinstance(equations, Permuted | Substituted)

    def run(self, view: AdversaryView) -> Outcome:
        """Find the key and undo it.

        Raises:
            PrivpipeError: there are too few images, or too many places in a block.
        """
        return searched(self.name, view, matched)


@dataclass(frozen=True)
class Found:
    """What makes public images like uploads.

    Args:
        keys: in the form of `Perturbation.dataset_key`; the likeliest, and what is nearly as likely and differs in the
            form of the whole image only, such as its mirror image.
        explained: the part of what is seen that they explain, at most 1.
    """

    keys: list[Array]
    explained: float


Search = Callable[[Perturbation, Array, Images], Found]


def searched(name: str, view: AdversaryView, search: Search) -> Outcome:
    """What comes of a search of uploads and public images for the key, and how far halves of the uploads agree on it.

    Raises:
        PrivpipeError: there are too few images.
    """
    method, public = view.transformation, view.public
    if public is None or min(len(public), len(view.stolen)) < MIN_IMAGES:
        raise PrivpipeError(f"{name} takes {MIN_IMAGES} uploads and as many public images. Pass more.")
    most = max(MIN_IMAGES, MOST_VALUES // view.stolen[0].size)
    uploads, public = view.stolen[:most], public[:most]
    found, confidence = search(method, uploads, public), 0.0
    if found.explained > 0:
        one, other = (search(method, uploads[half::2], public).keys for half in (0, 1))
        chance = method.chance_key_similarity(view.channels).pixels
        agreed = max(method.key_similarity(one[0], key).pixels for key in other)
        confidence = float(np.clip((agreed - chance) / max(1 - chance, SMALL), 0, 1) * min(found.explained, 1))
    return Outcome(pixel_values(method.invert(view.targets, found.keys[0])), confidence, found.keys[0])


def equations_of(method: Perturbation) -> Equations | None:
    """What its key solves; None where it does not say."""
    try:
        return method.key_equations()
    except PrivpipeError:
        return None


@dataclass(frozen=True)
class Tables:
    """How the values of a block go together.

    Args:
        mean, deviation: of each place, (n,).
        correlations: of any two places of a block; of one with those of the block to the right, and below, if there are
            such, (1 or 3, n, n).
    """

    mean: Doubles
    deviation: Doubles
    correlations: Doubles

    @classmethod
    def of(cls, rows: Doubles, count: int) -> "Tables":
        """From `Permuted.rows` of so many images, or of blocks that lie beside none."""
        values = rows.transpose(1, 0, 2).reshape(rows.shape[1], -1)
        side = round((len(values) / count) ** 0.5)
        mean, deviation = values.mean(axis=0), values.std(axis=0)
        values = (values - mean) / np.maximum(deviation, SMALL)
        board = values.astype(np.float32).reshape(count, side, side, -1)
        pairs = [(board, board)]
        if side > 1:
            pairs += [(board[:, :, :-1], board[:, :, 1:]), (board[:, :-1], board[:, 1:])]
        flat = [[part.reshape(-1, part.shape[3]) for part in pair] for pair in pairs]
        return cls(mean, deviation, np.stack([(one.T @ other / len(one)).astype(np.float64) for one, other in flat]))

    def moved(self, places: Places, signs: Doubles) -> Doubles:
        """The correlations where value j is that of `places[j]`, its sign turned or not."""
        return self.correlations[:, places][:, :, places] * signs[:, None] * signs


class Match:
    """The search for places and signs that make `expected` what is `seen`.

    Args:
        middle: of the range of values, about which they are reversed; None: they are not.
    """

    def __init__(self, seen: Tables, expected: Tables, middle: float | None) -> None:
        self.seen, self.expected, self.middle = seen, expected, middle
        # About their mean, which nearly any answer explains, and without those of each value with itself, which all do.
        size = np.abs(expected.correlations) if middle is not None else expected.correlations.copy()
        size[0][np.diag_indices(size.shape[1])] = np.nan
        middles = np.nanmean(size, axis=(1, 2), keepdims=True) if size.shape[1] > 1 else 0.0
        self.strength = float(np.nansum(np.square(size - middles)))
        apart = seen.deviation[:, None] - expected.deviation
        self.spread = np.square(SPREAD / max(float(expected.deviation.max()), SMALL) * apart)

    def starts(self, count: int = STARTS) -> list[Places]:
        """Answers by the absolute values of the correlations within a block and by the deviations."""
        tables = []
        for one in (self.seen, self.expected):
            table = one.correlations[0] if self.middle is None else np.abs(one.correlations[0])
            table = -np.log(np.maximum(1 - table, 0) + CLOSE)  # what is closest counts most
            np.fill_diagonal(table, SPREAD * one.deviation / max(float(self.expected.deviation.max()), SMALL))
            tables.append(table)
        found = dict[tuple[int, ...], Places]()
        for start in range(count):
            options = {"maximize": True, "rng": np.random.default_rng(start)} | ({"P0": "randomized"} if start else {})
            answer = quadratic_assignment(*tables, method="faq", options=options).col_ind
            found[tuple(answer.tolist())] = answer
        return list(found.values())

    def signs(self, places: Places) -> Doubles:
        """1 or -1 for each place."""
        count = len(places)
        if self.middle is None:
            return np.ones(count)
        products = self.seen.correlations[0] * self.expected.moved(places, np.ones(count))[0]
        leading = eigh(products, subset_by_index=(count - 1, count - 1))[1][:, 0]
        signs = np.where(leading < 0, -1.0, 1.0)
        means = (self.seen.mean - self.middle) * signs @ (self.expected.mean[places] - self.middle)
        return signs if means >= 0 else -signs

    def error(self, places: Places, signs: Doubles) -> float:
        """Squared differences of the correlations."""
        return float(np.square(self.seen.correlations - self.expected.moved(places, signs)).sum())

    def explained(self, error: float) -> float:
        """The part of the correlations that an answer of so large an error explains."""
        return 1 - error / self.strength if self.strength > SMALL else 0.0

    def best(self, starts: list[Places]) -> tuple[float, Places, Doubles]:
        """Error, places and signs of the best of all refined answers."""
        return min((self.refined(start) for start in starts), key=lambda found: found[0])

    def refined(self, places: Places) -> tuple[float, Places, Doubles]:
        """Its error, places and signs, as long as correlations with placed values make them better."""
        signs = self.signs(places)
        best = self.error(places, signs), places, signs
        for _ in range(ROUNDS):
            placed = self.expected.correlations
            mine = self.seen.correlations * signs[:, None] * signs
            mine = np.concatenate([*mine, *mine.swapaxes(1, 2)], axis=1)
            public = np.concatenate([*placed[:, :, places], *placed.swapaxes(1, 2)[:, :, places]], axis=1)
            products = mine @ public.T
            costs = self.spread - 2 * (products if self.middle is None else np.abs(products))
            costs += np.square(mine).sum(axis=1)[:, None] + np.square(public).sum(axis=1)
            places = linear_sum_assignment(costs)[1]
            signs = self.signs(places)
            error = self.error(places, signs)
            if error >= best[0]:
                break
            best = error, places, signs
        return best


def matched(method: Perturbation, uploads: Array, public: Images) -> Found:
    """The key that makes public images like uploads.

    Raises:
        PrivpipeError: there are too many places, or blocks.
    """
    equations = method.key_equations()
    if isinstance(equations, Substituted):
        return substituted(equations, uploads, public)
    if isinstance(equations, Nested):
        return nested(method, equations, uploads, public)
    assert isinstance(equations, Permuted)
    rows = equations.rows(public)
    systems, items = checked(rows)
    middle = middle_of(equations, public)
    match = Match(Tables.of(equations.rows(uploads), len(uploads)), Tables.of(rows, len(public)), middle)
    if items == 1:
        places = np.arange(systems)
        signs = match.signs(places)
        error = match.error(places, signs)
    else:
        starts = [turned[start] for start in match.starts() for turned in turns(items, method.k, public.shape[3])]
        error, places, signs = match.best(starts)
    sources = (places % items).reshape(systems, items).astype(np.int32)
    reverse = (signs < 0).reshape(systems, items).astype(np.int32)
    return Found([equations.key(sources, reverse)], match.explained(error))


def checked(rows: Doubles) -> tuple[int, int]:
    """Systems and items of `Permuted.rows`.

    Raises:
        PrivpipeError: there are too many items.
    """
    systems, _, items = rows.shape
    if items > MOST_PLACES:
        raise PrivpipeError(f"the {items} values of a block are too many to be matched. It takes {MOST_PLACES}.")
    return systems, items


def middle_of(equations: Permuted, public: Images) -> float | None:
    """Of the range of values, about which they are reversed; None: they are not."""
    return None if equations.forms is None else float(np.mean([form.mean() for form in equations.forms(public[:1])]))


def nested(method: Perturbation, equations: Nested, uploads: Array, public: Images) -> Found:
    """As `matched`: first the values of a block, or of the block at each place, then a jigsaw puzzle of the blocks.

    Raises:
        PrivpipeError: there are too many values in a block, or too many blocks.
    """
    inner, channels = equations.inner, public.shape[3]
    rows = inner.rows(public)
    systems, items = checked(rows)
    middle = middle_of(inner, public)

    def forms(size: int) -> Array:
        every = block_forms(size, channels)
        return every if middle is not None else every[(every < every.shape[1]).all(axis=1)]

    puzzle = Puzzle(method, channels, forms(method.k)[: None if systems > 1 else 1])
    rows = rows.reshape(1, -1, items)
    expected, answers = Tables.of(rows, rows.shape[1]), []
    for values in inner.rows(uploads):
        match = Match(Tables.of(values[None], len(values)), expected, middle)
        error, own, signs = match.best(match.starts(OWN_STARTS if systems > 1 else STARTS))
        answers.append((own, signs < 0, match.explained(error)))
    places, reverse = (np.array([answer[part] for answer in answers], np.int32) for part in (0, 1))
    as_they_lie = np.arange(puzzle.blocks, dtype=np.int32)
    images = method.invert(uploads[: puzzle.most_images], equations.key(as_they_lie, inner.key(places, reverse)))
    board, _ = puzzle.solve(images, puzzle.fit(public))
    whole, keys = WholeForms(puzzle, public, forms), []
    for form in np.argsort(whole.errors(puzzle.assembled(images, board)), kind="stable")[:NATURAL]:
        n, sources = puzzle.forms.shape[1], puzzle.sources(board, whole.forms[form])
        outer = np.argsort(sources[:, 0] // n % puzzle.blocks)  # where each perturbed block belongs
        sources = sources[outer]
        values = (sources % n)[:, None] + n * np.arange(items // n)[:, None]  # parts of a value go with it
        back = np.argsort(values.reshape(puzzle.blocks, items), axis=1)[:systems]
        turned = np.take_along_axis(back, places, axis=1).astype(np.int32)
        flips = reverse ^ (sources[:systems, :1] >= sources.size)
        outer_key = equations.outer.key(outer[None].astype(np.int32), np.zeros((1, puzzle.blocks), np.int32))
        keys.append(equations.key(outer_key, inner.key(turned, flips)))
    return Found(keys, float(np.mean([answer[2] for answer in answers])))


def turns(count: int, k: int, channels: int) -> list[Places]:
    """The places of a block, turned and mirrored in all ways; parts of a pixel, such as its colours, stay together."""
    places = np.arange(count).reshape(-1, k, k, channels)
    return [np.rot90(one, turn, axes=(1, 2)).ravel() for one in (places, places[:, :, ::-1]) for turn in range(4)]


def substituted(equations: Substituted, uploads: Array, public: Images) -> Found:
    """As `matched`: at which places a bijection is applied, and which."""
    seen, expected = equations.values(uploads), equations.values(public)
    apart = np.abs(shares(seen) - shares(expected)).sum(axis=1) / 2  # of two laws, 0..1
    encrypted = apart > (apart.min() + apart.max()) / 2
    table = np.arange(LEVELS, dtype=np.uint8)
    if encrypted.any():
        beside = np.broadcast_to(seen[~encrypted].mean(axis=0), seen[encrypted].shape).ravel()
        values = seen[encrypted].ravel()
        sums, counts = np.bincount(values, beside, LEVELS), np.bincount(values, minlength=LEVELS)
        table = np.argsort(sums / np.maximum(counts, 1), kind="stable").astype(np.uint8)
    return Found([equations.key(encrypted, table)], 1 - float(apart.min() / max(apart.max(), SMALL)))


def shares(values: Array) -> Doubles:
    """How often each of 0..255 is among values (places, m), (places, 256)."""
    return np.stack([np.bincount(row, minlength=LEVELS) / len(row) for row in values])
