"""What an adversary gets out of a release all the same: membership, linkage and reconstruction, at their best.

The adversary knows the mechanism and every image of the set but one; nobody who uses the release can know more. In
units of the noise (`mechanism.contribution`), the release is then a known vector plus the unknown image's t plus
N(0, I), and the best tests and estimates are those of a signal in white noise (Neyman and Pearson, 1933). So no other
attack on the same release, whether on the sums or on a model made of them, does better than this adversary.
"""

import numpy as np

from privpipe.statistics.accounting import identified_at_most
from privpipe.statistics.mechanism import Budget, Sums, contribution, exact_sums
from privpipe.statistics.values import Doubles, Floats, Labels


def contributions(vectors: Floats, targets: Floats, budget: Budget) -> Doubles:
    """t of each image on its own, float64 (N, D); the arguments are those of `mechanism.release`."""
    moment = budget.moment > 0
    alone = (exact_sums(vectors[i : i + 1], targets[i : i + 1], moment=moment) for i in range(len(vectors)))
    return np.stack([contribution(sums, budget) for sums in alone])


def left_over(released: Sums, others: Sums, budget: Budget) -> Doubles:
    """What a release holds beyond the images that the adversary knows, in units of the noise, (D,)."""
    return contribution(released, budget) - contribution(others, budget)


def log_ratio(rest: Doubles, t: Doubles) -> Doubles:
    """How much likelier it is that the image of `t` was in the set than that it was not, as a natural logarithm.

    Args:
        rest: of `left_over`, (..., D).
        t: of `contributions`, (..., D).
    """
    return np.asarray((rest * t).sum(axis=-1) - (t * t).sum(axis=-1) / 2)


def membership_advantage(mu: float) -> float:
    """By how much hits exceed false alarms, at most, in the best test of a membership: 2·Phi(mu/2) - 1."""
    return float(2 * identified_at_most(0.5, mu / 2) - 1)


def linked(rest: Doubles, candidates: Doubles) -> int:
    """Which of the candidates the image was: the likeliest.

    Args:
        rest: of `left_over`, (D,).
        candidates: their t, (M, D).
    """
    return int(np.argmax(candidates @ rest - (candidates * candidates).sum(axis=1) / 2))


def inner_products(vectors: Floats, targets: Floats, budget: Budget) -> Doubles:
    """t of every image times t of every other, float64 (N, N), without writing them down."""
    scale, moment_scale = budget.scales
    z, r = vectors.astype(np.float64), targets.astype(np.float64)
    near = z @ z.T
    return np.asarray(scale**2 * (r @ r.T) * near + (moment_scale * near) ** 2)


def linkage(
    vectors: Floats, targets: Floats, labels: Labels, budget: Budget, rng: np.random.Generator, tries: int = 1000
) -> float:
    """How often the likeliest candidate of its class is the right one, 0..1: the column "at least" of a release.

    Each of the first `tries` images is once the unknown one of a release of its own, told by an adversary who knows all
    others and its class. All that counts of a noise are its products with the candidates' t. They are jointly normal,
    and their covariances are the products of these t.

    Args:
        vectors, targets: of all M candidates, as for `mechanism.release`.
        labels: int64 (M,).
        rng: draws the noise of these releases, which are never published.
    """
    right = 0
    for label in np.unique(labels[:tries]):
        rows = np.flatnonzero(labels == label)
        products = inner_products(vectors[rows], targets[rows], budget)
        lengths, tried = products.diagonal(), np.arange(int((rows < tries).sum()))
        # Equal candidates make the matrix singular; this little more noise than there is hides that.
        root = np.linalg.cholesky(products + 1e-9 * lengths.max() * np.eye(len(rows)))
        noise = root @ rng.standard_normal((len(rows), len(tried)))
        right += int(((products[:, tried] - lengths[:, None] / 2 + noise).argmax(axis=0) == tried).sum())
    return right / min(tries, len(labels))


def linkage_at_most(labels: Labels, mu: float) -> float:
    """The bound on `linkage`, whatever the adversary does; the class of an image is known."""
    sizes = np.unique(labels, return_counts=True)[1]
    return float((sizes * identified_at_most(1 / sizes, mu)).sum() / sizes.sum())


def reconstructed(one: Sums, other: Sums) -> Doubles:
    """The vector of the image by which two sets differ, from the releases of both, up to its length and sign; (d,).

    Their difference is r zᵀ plus noise, whose nearest matrix of rank 1 gives z. Each release has noise of its own:
    under one noise for both, the difference is r zᵀ exactly, which is why noise is never used twice.
    """
    return np.asarray(np.linalg.svd(one.cross - other.cross)[2][0])
