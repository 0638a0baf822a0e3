"""Linear classifiers from noisy sums. All of it is post-processing: it costs no privacy.

The model is a Bayesian linear regression of labels, as unit vectors less their mean, on z:

    target = Wᵀ z + rest,   rest of variance s² in each class,

W unknown. Sums of n images with A = E[z zᵀ] and noise of variance V tell (1/n)·sum of target·z = A W + error, the error
of covariance s²·A/n + V/n². `fit` takes the mean of W given that. In a direction in which A is a, before anything is
known, W has variance t = R·s_y²/trace(A): so much that it explains the fraction R of the labels' variance s_y². Public
images with labels may have been looked at before: `Start.weights` is W given them, with what is left to be known of it.

So how strongly each direction is shrunk follows from the noise, the numbers of images and R alone; nothing is tuned on
private images.
"""

from dataclasses import dataclass, replace

import numpy as np

from privpipe.statistics.mechanism import Sums, clipped
from privpipe.statistics.values import Doubles, Floats, Labels

EXPLAINED = 0.4  # R: how much of the labels a linear classifier of good features explains
REACHED = 0.9  # fraction of public images whose targets are not clipped


@dataclass(frozen=True)
class Head:
    """Scores of a vector z: z @ weights, the highest for the likeliest class.

    Args:
        weights: float32 (d, classes).
    """

    weights: Floats

    def scores(self, vectors: Floats) -> Floats:
        """float32 (N, d) to float32 (N, classes)."""
        return np.asarray(vectors @ self.weights, np.float32)

    def accuracy(self, vectors: Floats, labels: Labels) -> float:
        """How often the likeliest class is right, 0..1."""
        return float((self.scores(vectors).argmax(axis=1) == labels).mean())


@dataclass(frozen=True)
class Start:
    """What is known before a release, from public images.

    Args:
        weights: W by public images and their labels, float64 (d, classes); zeros where they have none.
        moment: A, mean of z zᵀ over public images, float64 (d, d).
        labelled: how many public images `weights` is made of.
        images: how many `moment` is made of.
        bound: what targets are divided by, so that few of them are longer than 1.
    """

    weights: Doubles
    moment: Doubles
    labelled: int
    images: int
    bound: float

    @property
    def head(self) -> Head:
        """The classifier of public images alone: the baseline of a release."""
        return Head(self.weights.astype(np.float32))


def start(vectors: Floats, labels: Labels | None, classes: int, others: Floats | None = None) -> Start:
    """What public images tell.

    Args:
        vectors: of public images, float32 (P, d), each of norm at most 1.
        labels: theirs, int64 (P,); None: they have none.
        others: vectors of further public images, for the moment alone.
    """
    all_of_them = vectors if others is None else np.concatenate([vectors, others])
    moment = all_of_them.T.astype(np.float64) @ all_of_them / len(all_of_them)
    unknowing = Start(np.zeros((len(moment), classes)), moment, 0, len(all_of_them), (1 - 1 / classes) ** 0.5)
    if labels is None:
        return unknowing
    left = unit_targets(labels, classes)
    sums = Sums(left.T.astype(np.float64) @ vectors, None, len(vectors))
    own = replace(unknowing, moment=vectors.T.astype(np.float64) @ vectors / len(vectors))
    weights = own.weights + _step(sums, own, same=True)
    lengths = np.linalg.norm(left - vectors @ weights.astype(np.float32), axis=1)
    return Start(weights, moment, len(vectors), len(all_of_them), float(np.quantile(lengths, REACHED)))


def unit_targets(labels: Labels, classes: int) -> Floats:
    """Labels as unit vectors less 1 / classes, float32 (N, classes)."""
    return np.asarray(np.eye(classes, dtype=np.float32)[labels] - np.float32(1 / classes))


def targets(vectors: Floats, labels: Labels, classes: int, begin: Start) -> Floats:
    """r of `mechanism`: what the classifier of public images leaves unexplained of labels, float32 (N, classes).

    Divided by `begin.bound` and clipped to norm 1.
    """
    left = unit_targets(labels, classes) - vectors @ begin.weights.astype(np.float32)
    return clipped(np.asarray(left / np.float32(begin.bound), np.float32))


def fit(released: Sums, begin: Start) -> Head:
    """The classifier, given a release of `targets` and what was known before."""
    sums = replace(
        released, cross=released.cross * begin.bound, cross_variance=released.cross_variance * begin.bound**2
    )
    return Head((begin.weights + _step(sums, begin)).astype(np.float32))


def fit_class_sums(released: Sums, begin: Start) -> Head:
    """The classifier, given noisy sums of z over the images of each class, and what was known before.

    As `fit`, but what `begin.weights` explain of such sums is taken off by A of public images, of which it is known to
    their number only.
    """
    classes = len(released.cross)
    moment, _ = _pooled(released, begin)
    cross = released.cross - released.cross.mean(axis=0) - released.count * begin.weights.T @ moment
    sums = replace(released, cross=cross, cross_variance=released.cross_variance * (1 - 1 / classes))
    return Head((begin.weights + _step(sums, begin, explained=True)).astype(np.float32))


def _step(sums: Sums, begin: Start, same: bool = False, explained: bool = False) -> Doubles:
    """By how much W differs from `begin.weights`, by sums of what those leave unexplained; float64 (d, classes).

    Args:
        same: the sums are of the images that `begin.moment` is of, which then is no estimate.
        explained: what those explain was taken off by `begin.moment`.
    """
    classes, n = len(sums.cross), sums.count
    moment, images = _pooled(sums, begin)
    values, axes = np.linalg.eigh(moment)
    values = np.maximum(values, 1e-9 * values[-1])
    label_variance = (1 - 1 / classes) / classes
    rest = (1 - EXPLAINED) * label_variance
    unknown = EXPLAINED * label_variance / values.sum()
    known = 1 / (values * begin.labelled / rest + 1 / unknown)  # variance of W given public labels, by direction
    error = rest * values / n + sums.cross_variance / n**2
    if not same:  # A is itself estimated, which matters by as much as W may still differ
        before = ((axes.T @ begin.weights) ** 2).mean(axis=1) if explained else 0
        error += values * (values * (known + before)).sum() / images
    gain = known * values / (known * values**2 + error)
    return np.asarray(axes @ (gain[:, None] * (axes.T @ sums.cross.T / n)))


def _pooled(sums: Sums, begin: Start) -> tuple[Doubles, float]:
    """A by public images and by the release, weighted by how well each knows it; and of how many images it seems."""
    if sums.moment is None:
        return begin.moment, begin.images
    n, dims = sums.count, len(begin.moment)
    # Of a number of A: what it varies by among images, about (trace / d)², and the noise.
    variety = (np.trace(begin.moment) / dims) ** 2
    seems = n * variety / (variety + sums.moment_variance / (2 * n))
    moment = (begin.images * begin.moment + seems * sums.moment / n) / (begin.images + seems)
    return moment, begin.images + seems
