"""Undoing the permutation of patches, and telling images by what no key changes of them.

For a method whose uploads are vectors of patches, encoded by one secret random network with a vector for each place
(`privpipe.perturb.neuracrypt`). A network of random weights hardly changes how alike two patches are, whichever weights
it has: products of their vectors are, nearly, a function of the patches (a random network as a kernel; Cho and Saul,
"Kernel Methods for Deep Learning", NeurIPS 2009). So whoever encodes images with keys of his own knows what to expect
of uploads under another key:

1. Vectors of one place lie together in all uploads of a key, as the place has a vector of its own. `in_order` gives the
   patches of each upload the same order.
2. Neighbouring places are alike, in uploads as in other images of the kind. `placed` matches the order with places
   (quadratic assignment: Vogelstein et al., "Fast Approximate Quadratic Programming for Graph Matching", PLOS ONE 2015;
   then the best exchanges of two). Mirror images are as natural as images, so both answers are given.
3. `products` of any two patches of an image, about their means: what an upload and its image have in common.

That is the way of N. Carlini et al., "NeuraCrypt is not private" (2021, arXiv 2108.07256): a slight likeness that
needs no key, boosted by what all uploads share; they learned theirs by contrastive training.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, quadratic_assignment

from privpipe.perturb.values import Array, Doubles, Floats

Places = NDArray[np.intp]

FEW = 500  # uploads that the first rounds of `in_order` look at
FIRST_ROUNDS, ROUNDS = 3, 6
COMPARED = 300  # images of which all pairs are compared
STARTS = 12  # of the search of `placed`
CORRECTIONS = 4  # of an answer by what resembles
PROFILED = 100  # images that `profiles` compares
BOOSTS = 3  # of `matched`
RIDGE = 0.01
EXCHANGES = 1000
SMALL = 1e-6


def in_order(uploads: Floats) -> Floats:
    """Uploads with their patches in one order for all, whichever it is, (N, places, width).

    Patches are assigned one to one to centres, and centres are the means of theirs, in turn; distances count in units
    of the spread around them.

    Args:
        uploads: vectors of the patches, (N, places, width).
    """
    centres, width = uploads[0], uploads.shape[2]
    scale = np.eye(width, dtype=np.float32)
    ordered = uploads
    for turn in range(FIRST_ROUNDS + ROUNDS):
        used = uploads[:FEW] if turn < FIRST_ROUNDS else uploads
        before, seen = centres, (centres @ scale).T
        costs = (seen * seen).sum(axis=0) - 2 * (used @ scale) @ seen
        order = np.array([np.argsort(linear_sum_assignment(cost)[1]) for cost in costs])
        ordered = np.take_along_axis(used, order[:, :, None], axis=1)
        centres = ordered.mean(axis=0)
        if turn >= FIRST_ROUNDS and np.array_equal(before, centres):
            break
        rest = (ordered - centres).reshape(-1, width)
        covariance = rest.T.astype(np.float64) @ rest / len(rest)
        floor = max(np.trace(covariance) / width, SMALL) * 1e-3
        scale = np.linalg.cholesky(np.linalg.inv(covariance + floor * np.eye(width))).astype(np.float32)
    return ordered


def centred(ordered: Floats) -> Floats:
    """Vectors about the mean of their place."""
    return np.asarray(ordered - ordered.mean(axis=0), np.float32)


def products(vectors: Floats, among: Floats | None = None) -> Floats:
    """The products of any two patches of each image, (N, places·(places+1)/2), each in units of its spread about its
    mean.

    Args:
        vectors: as of `centred`.
        among: images whose mean and spread count; None: those of `vectors`.
    """
    first, second = np.triu_indices(vectors.shape[1])
    rows = (vectors @ vectors.swapaxes(1, 2))[:, first, second]
    all_rows = rows if among is None else (among @ among.swapaxes(1, 2))[:, first, second]
    return np.asarray((rows - all_rows.mean(axis=0)) / np.maximum(all_rows.std(axis=0), SMALL), np.float32)


def likeness_of_places(vectors: Floats) -> Doubles:
    """How alike two places are in a set, in three ways, (3, places, places), with zeros on the diagonal: correlation of
    the lengths, mean cosine within an image, and correlation of the cosines with other images.

    Args:
        vectors: as of `centred`, of two images at least.
    """
    squares = np.square(vectors).sum(axis=2) + SMALL
    directions = vectors / np.sqrt(squares)[:, :, None]
    few = directions[:COMPARED].swapaxes(0, 1)
    pairs = np.triu_indices(few.shape[1], 1)
    cosines = (few @ few.swapaxes(1, 2))[:, pairs[0], pairs[1]]
    within = (directions @ directions.swapaxes(1, 2)).mean(axis=0)
    return np.stack([_standard(one) for one in (_correlations(np.log(squares).T), within, _correlations(cosines))])


def _correlations(rows: Floats) -> Doubles:
    about = rows - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    about /= np.maximum(np.sqrt(np.square(about).sum(axis=1, keepdims=True)), SMALL)
    return np.asarray(about @ about.T)


def _standard(matrix: Floats | Doubles) -> Doubles:
    """A symmetric matrix with mean 0 and variance 1 off the diagonal."""
    values = np.array(matrix, np.float64)
    others = values[~np.eye(len(values), dtype=bool)]
    values = (values - others.mean()) / max(others.std(), SMALL) if others.size else values
    np.fill_diagonal(values, 0)
    return values


def placed(vectors: Floats, expected: Doubles) -> list[Places]:
    """Which place in the order of `vectors` belongs to each place of an image: answers, the best of them turned and
    mirrored in all ways too.

    Args:
        vectors: as of `centred`, in any order of the places, which form a square.
        expected: `likeness_of_places` of images in the right order.

    Returns:
        Permutations, so that `vectors[:, answer]` is in the order of the places, the likeliest first.
    """
    seen, count = likeness_of_places(vectors), vectors.shape[1]

    def agreement(answer: Places) -> float:
        return float((expected * seen[:, answer][:, :, answer]).sum())

    found: list[Places] = []
    for start in range(STARTS):
        options = {"maximize": True, "rng": np.random.default_rng(start)}
        options |= {"P0": "randomized"} if start >= len(seen) else {}
        kind = start % len(seen)
        answer = quadratic_assignment(expected[kind], seen[kind], method="faq", options=options).col_ind
        found.append(_exchanged(expected, seen, answer))
    board = max(found, key=agreement).reshape(round(count**0.5), -1)
    for turns in range(4):
        found += [_exchanged(expected, seen, np.rot90(one, turns).ravel()) for one in (board, board[:, ::-1])]
    return sorted({tuple(answer.tolist()): answer for answer in found}.values(), key=agreement, reverse=True)


def _exchanged(expected: Doubles, seen: Doubles, answer: Places) -> Places:
    """An answer after all exchanges of two places that help, the best first."""
    answer = answer.copy()
    for _ in range(EXCHANGES):
        now = seen[:, answer][:, :, answer]
        mixed = (expected @ now).sum(axis=0)
        own = np.diagonal(mixed)
        gains = mixed + mixed.T - own[:, None] - own + 2 * (expected * now).sum(axis=0)
        one, other = np.unravel_index(int(gains.argmax()), gains.shape)
        if gains[one, other] <= SMALL:
            break
        answer[[one, other]] = answer[[other, one]]
    return answer


class Expected:
    """What to expect of images under any key, from some in their right order under keys of one's own.

    Args:
        shown: the vectors of the patches of the same images under each key, (N, places, width).
    """

    def __init__(self, shown: list[Floats]) -> None:
        self.means = [vectors.mean(axis=0) for vectors in shown]
        self.about = [vectors - mean for vectors, mean in zip(shown, self.means, strict=True)]
        self.places = np.mean([likeness_of_places(vectors) for vectors in self.about], axis=0)
        self.products = self.products_of(shown)

    def products_of(self, shown: list[Floats]) -> Floats:
        """What to expect of `products` of other images, as directions, from their vectors under the same keys."""
        parts = zip(shown, self.means, self.about, strict=True)
        return _directions(np.mean([products(vectors - mean, among) for vectors, mean, among in parts], axis=0))

    def profiles_of(self, shown: list[Floats]) -> Floats:
        """The same of `profiles`."""
        return np.asarray(np.mean([profiles(v - mean) for v, mean in zip(shown, self.means, strict=True)], axis=0))

    def likeness(self, vectors: Floats) -> Floats:
        """How well the products of uploads in the order of the places fit those of each image, (T, N)."""
        return np.asarray(products(vectors) @ self.products.T, np.float32)

    def best_placed(self, vectors: Floats) -> Places:
        """Of all answers, and what becomes of them when the nearest images say where each patch belongs, the one whose
        uploads resemble an image most.

        Args:
            vectors: as of `centred`.
        """
        seen, tried = profiles(vectors), dict[tuple[int, ...], float]()
        for answer in placed(vectors, self.places):
            for _ in range(CORRECTIONS):
                name = tuple(answer.tolist())
                if name in tried:
                    break
                likeness = self.likeness(vectors[:, answer])
                tried[name] = float(likeness.max(axis=1).mean())
                near = likeness.argmax(axis=1)[:PROFILED]
                answer = by_profiles(np.mean([profiles(about[near]) for about in self.about], axis=0), seen)
        return np.array(max(tried, key=lambda name: tried[name]))


def profiles(vectors: Floats) -> Floats:
    """What tells places apart in a set of images, (places, values): how the lengths go up and down from image to image,
    and the cosines of any two images, each about its mean.

    Args:
        vectors: as of `centred`; the first `PROFILED` count.
    """
    few = vectors[:PROFILED].swapaxes(0, 1)
    norms = np.sqrt(np.square(few).sum(axis=2, keepdims=True) + SMALL)
    pairs = np.triu_indices(few.shape[1], 1)
    cosines = (few / norms @ (few / norms).swapaxes(1, 2))[:, pairs[0], pairs[1]]
    parts = [np.log(norms)[:, :, 0], cosines] if len(pairs[0]) else [np.log(norms)[:, :, 0]]
    about = [part - part.mean(axis=1, keepdims=True) for part in parts]
    return np.concatenate([part / max(float(np.linalg.norm(part)), SMALL) for part in about], axis=1)


def by_profiles(expected: Floats, seen: Floats) -> Places:
    """The answer that images with their uploads give, from the profiles of both: which place belongs to which."""
    one, other = (
        values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), SMALL) for values in (expected, seen)
    )
    return np.asarray(linear_sum_assignment(-one @ other.T)[1])


def matched(uploads: Floats, shown: list[Floats], patches: Array) -> Doubles:
    """How well each upload fits each candidate, where all uploads share a key, (T, G); only rows compare.

    By `Expected.likeness` first. Then the likeliest candidates stand for the originals: a linear map from vectors to
    patches is fitted to them, and its patches are compared with those of all candidates, a few times.

    Args:
        uploads: the vectors of their patches, in any order, (T, places, width).
        shown: those of the candidates under keys of one's own, in their right order, each (G, places, width).
        patches: of the candidates, grey levels, (G, places, values).
    """
    expected, vectors = Expected(shown), centred(in_order(uploads))
    vectors = vectors[:, expected.best_placed(vectors)]
    likeness = expected.likeness(vectors)
    levels = patches.astype(np.float32)
    levels -= levels.mean(axis=0)
    asked = _directions(levels)
    for _ in range(BOOSTS):
        originals = levels[likeness.argmax(axis=1)]
        likeness = _directions(vectors @ linear_map(vectors, originals)) @ asked.T
    return np.asarray(likeness, np.float64)


def _directions(values: Floats) -> Floats:
    rows = values.reshape(len(values), -1)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), SMALL))


def linear_map(vectors: Floats, patches: Floats, ridge: float = RIDGE) -> Floats:
    """The map from vectors to patches that all places share, by least squares, (width, values).

    Args:
        vectors: (N, places, width); patches: grey levels about the mean of each place, (N, places, values).
        ridge: in units of the mean square of the vectors' components.
    """
    rows, wanted = (values.reshape(-1, values.shape[2]).astype(np.float64) for values in (vectors, patches))
    squares = rows.T @ rows
    squares += max(ridge * np.trace(squares) / len(squares), SMALL) * np.eye(len(squares))
    return np.linalg.solve(squares, rows.T @ wanted).astype(np.float32)
