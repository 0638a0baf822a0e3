"""Find a key that changes the values of all blocks of all images alike, from how values go together: no known pair.

Values at two places of a block, or of blocks side by side, correlate; a permutation moves these correlations, and a
reversal (v becomes 255 - v, or 15 - v of nibbles) turns their sign. Public images of the same kind have the same
correlations in the right order (level L1), so that the key is what makes one table the other:

1. Places are matched by the absolute values of their correlations within a block and by their spread (quadratic
   assignment: Vogelstein et al., "Fast Approximate Quadratic Programming for Graph Matching", PLOS ONE 2015). Blocks
   that are turned or mirrored fit as well, so all of these are tried.
2. Signs are those of the leading eigenvector of the products of both tables; means tell the sign of all together.
3. Correlations with the blocks to the right and below tell the places anew, by a linear assignment, until nothing
   changes. Of all answers the one with the smallest squared differences is taken.

Where no value changes its place step 2 is all. Lower nibbles correlate with next to nothing: these are not found.

A bijection of values at some places (`Substituted`) changes how often each value is there, which tells the places. The
brighter a value, the brighter on average what stands at the other places of the block, which tells their order.

Attacks on such schemes from uploads alone are surveyed by W. Sirichotedumrong and H. Kiya, "Visual Security Evaluation
of Learnable Image Encryption Methods against Ciphertext-only Attacks", 2020, arXiv 2010.06198. The composition is our
own. The confidence is how far two halves of the uploads give the same key, beyond chance, times the part of the
correlations that the key explains.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, quadratic_assignment

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.equations import Permuted, Substituted
from privpipe.perturb.values import Doubles, pixel_values

Places = NDArray[np.intp]
MOST_VALUES = 1 << 23  # of images that correlations are measured on
MOST_PLACES = 400  # that may change: time grows with their third power
STARTS = 12
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
        return method.alike and method.scope == "dataset" and isinstance(method.key_equations(), Permuted | Substituted)

    def run(self, view: AdversaryView) -> Outcome:
        """Find the key and undo it.

        Raises:
            PrivpipeError: there are too few images, or too many places in a block.
        """
        method, public = view.transformation, view.public
        if public is None or min(len(public), len(view.stolen)) < MIN_IMAGES:
            raise PrivpipeError(f"{self.name} takes {MIN_IMAGES} uploads and as many public images. Pass more.")
        most = max(MIN_IMAGES, MOST_VALUES // view.stolen[0].size)
        uploads, public, equations = view.stolen[:most], public[:most], method.key_equations()
        assert isinstance(equations, Permuted | Substituted)
        key, explained = matched(equations, uploads, public, view.k)
        halves = [matched(equations, uploads[half::2], public, view.k)[0] for half in (0, 1)]
        chance = method.chance_key_similarity(view.channels).pixels
        agreement = (method.key_similarity(halves[0], halves[1]).pixels - chance) / max(1 - chance, SMALL)
        confidence = float(np.clip(agreement, 0, 1) * np.clip(explained, 0, 1))
        return Outcome(pixel_values(method.invert(view.targets, key)), confidence, key)


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
        """From `Permuted.rows` of so many images."""
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
        # Less that of each value with itself, which any answer explains.
        self.strength = float(np.square(expected.correlations).sum()) - len(expected.mean)
        apart = seen.deviation[:, None] - expected.deviation
        self.spread = np.square(SPREAD / max(float(expected.deviation.max()), SMALL) * apart)

    def starts(self) -> list[Places]:
        """Answers by the absolute values of the correlations within a block and by the deviations."""
        tables = []
        for one in (self.seen, self.expected):
            table = np.abs(one.correlations[0]) if self.middle is not None else one.correlations[0].copy()
            np.fill_diagonal(table, SPREAD * one.deviation / max(float(self.expected.deviation.max()), SMALL))
            tables.append(table)
        found = dict[tuple[int, ...], Places]()
        for start in range(STARTS):
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
        signs = np.where(np.linalg.eigh(products)[1][:, -1] < 0, -1.0, 1.0)
        means = (self.seen.mean - self.middle) * signs @ (self.expected.mean[places] - self.middle)
        return signs if means >= 0 else -signs

    def error(self, places: Places, signs: Doubles) -> float:
        """Squared differences of the correlations."""
        return float(np.square(self.seen.correlations - self.expected.moved(places, signs)).sum())

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


def matched(equations: Permuted | Substituted, uploads: Array, public: Images, k: int) -> tuple[Array, float]:
    """The key that makes public images like uploads, and the part of what is seen that it explains.

    Raises:
        PrivpipeError: there are too many places.
    """
    if isinstance(equations, Substituted):
        return substituted(equations, uploads, public)
    rows = equations.rows(public)
    systems, items = rows.shape[0], rows.shape[2]
    if items > MOST_PLACES:
        raise PrivpipeError(f"the {items} values of a block are too many to be matched. It takes {MOST_PLACES}.")
    middle = None
    if equations.forms is not None:
        middle = float(np.mean([form.mean() for form in equations.forms(public[:1])]))
    match = Match(Tables.of(equations.rows(uploads), len(uploads)), Tables.of(rows, len(public)), middle)
    if items == 1:
        places = np.arange(systems)
        signs = match.signs(places)
        error = match.error(places, signs)
    else:
        tried = [turned[start] for start in match.starts() for turned in turns(items, k, public.shape[3])]
        error, places, signs = min((match.refined(one) for one in tried), key=lambda found: found[0])
    places = (places % items).reshape(systems, items).astype(np.int32)
    reverse = (signs < 0).reshape(systems, items).astype(np.int32)
    return equations.key(places, reverse), 1 - error / max(match.strength, SMALL)


def turns(count: int, k: int, channels: int) -> list[Places]:
    """The places of a block, turned and mirrored in all ways; parts of a pixel, such as its colours, stay together."""
    places = np.arange(count).reshape(-1, k, k, channels)
    return [np.rot90(one, turn, axes=(1, 2)).ravel() for one in (places, places[:, :, ::-1]) for turn in range(4)]


def substituted(equations: Substituted, uploads: Array, public: Images) -> tuple[Array, float]:
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
    return equations.key(encrypted, table), 1 - float(apart.min() / max(apart.max(), SMALL))


def shares(values: Array) -> Doubles:
    """How often each of 0..255 is among values (places, m), (places, 256)."""
    return np.stack([np.bincount(row, minlength=LEVELS) / len(row) for row in values])
