"""Sums of several vectors of one class, with noise: labelled rows that any classifier is trained on.

With N images and K classes there are R = N / (K·mixed) rows of each class in each pass (rounded, at least 1); N, K and
`mixed` are public, sizes of classes are not. An image i of class y has for each pass p a number u_ip of its own, drawn
evenly from 0..R - 1 whatever its class and whatever the other images are. It is added to the rows (p, y, u_ip), that is

    t(z, r) = mu · r zᵀ,    r = 1 / sqrt(passes) at its rows, 0 elsewhere,

of `mechanism`: |r| = 1, so that with independent N(0, 1) in every number of all rows, adding or removing one image is
one Gaussian mechanism of that mu, for every draw of the u_ip. What holds for each draw, P(output in S) <= e^epsilon ·
P'(output in S) + delta, holds on average over draws of one distribution, so that the u_ip need not even be secret. That
they are, and that an image might be in any row of its class, makes it harder still to tell; nothing is claimed for it.

Adding all rows of a class up gives its class sum, as `dp_statistics` would release it, under R times the variance:
rows cost accuracy, and fewer of them (a larger `mixed`) cost less. `passes` does not matter to that sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from privpipe.statistics import heads, mechanism
from privpipe.statistics.classifier import Classifier
from privpipe.statistics.mechanism import SAFE, Budget, Sums
from privpipe.statistics.recipe import Recipe
from privpipe.statistics.values import Doubles, Floats, Labels

FORM, ROWS = "noisy_mixtures", "rows."
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Mixing:
    """Which rows there are.

    Args:
        mixed: images in a row on average, where classes are of one size.
        passes: rows that each image is in.
        classes: K.
        count: N, how many images there are.
    """

    mixed: int
    passes: int
    classes: int
    count: int

    @property
    def of_class(self) -> int:
        """R, rows of each class in each pass."""
        return max(1, round(self.count / (self.classes * self.mixed)))

    @property
    def total(self) -> int:
        """How many rows there are."""
        return self.passes * self.classes * self.of_class

    @property
    def labels(self) -> Labels:
        """Of the rows, int64 (total,)."""
        return np.tile(np.repeat(np.arange(self.classes), self.of_class), self.passes)

    @property
    def scale(self) -> float:
        """What r zᵀ is multiplied by, so that rows are about means of vectors, where classes are of one size."""
        return float(self.passes**0.5 / SAFE * self.classes * self.of_class / self.count)

    def rows(self, labels: Labels, drawn: NDArray[np.integer]) -> NDArray[np.int64]:
        """The rows of each image, int64 (N, passes).

        Args:
            labels: of the images, int64 (N,).
            drawn: u of the module's description, 0..R - 1, (N, passes).
        """
        before = np.arange(self.passes) * self.classes + labels[:, None]
        return np.asarray(before * self.of_class + drawn, np.int64)


@dataclass(frozen=True)
class Mixtures:
    """A release.

    Args:
        features: of the rows, float32 (n, d): about the mean of the vectors z that are in a row, and noise.
        labels: of the rows, int64 (n,).
        deviation: of the noise in every number of `features`.
    """

    features: Floats
    labels: Labels
    deviation: float


def release(vectors: Floats, rows: NDArray[np.int64], mixing: Mixing, budget: Budget, noise: Doubles) -> Mixtures:
    """Rows with noise, which may be published.

    Args:
        vectors: z, float32 (N, d), each of norm at most 1, see `mechanism.clipped`.
        rows: of `Mixing.rows`.
        noise: independent N(0, 1), float64 (rows·d,): secret, and never used for anything else.

    Raises:
        PrivpipeError: see `mechanism.release`.
    """
    sums = mechanism.release(vectors, targets(rows, mixing), budget, noise)
    features = (sums.cross * mixing.scale).astype(np.float32)
    return Mixtures(features, mixing.labels, sums.cross_variance**0.5 * mixing.scale)


def targets(rows: NDArray[np.int64], mixing: Mixing) -> csr_matrix:
    """r of the module's description, float64 (N, total), of norm at most 1."""
    count, passes = rows.shape
    values = np.full(rows.size, SAFE / passes**0.5)
    return csr_matrix((values, rows.ravel(), np.arange(count + 1) * passes), (count, mixing.total))


def class_sums(mixtures: Mixtures, mixing: Mixing) -> Sums:
    """What the rows of each class come to: the sums of z over its images, `cross` (K, d)."""
    cross = np.zeros((mixing.classes, mixtures.features.shape[1]))
    np.add.at(cross, mixtures.labels, mixtures.features.astype(np.float64))
    back = mixing.count / (mixing.classes * mixing.of_class * mixing.passes)
    variance = mixing.of_class * mixing.passes * (mixtures.deviation * back) ** 2
    return Sums(cross * back, None, mixing.count, variance)


def numbers_of(recipe: Recipe, mixing: Mixing, mixtures: Mixtures) -> dict[str, NDArray[Any]]:
    """All that is released, by name."""
    own = {
        "features": mixtures.features,
        "labels": mixtures.labels,
        "deviation": np.float64(mixtures.deviation),
        "mixing": np.array([mixing.mixed, mixing.passes, mixing.classes, mixing.count]),
    }
    return {**recipe.arrays(), **{f"{ROWS}{name}": np.asarray(values) for name, values in own.items()}}


def mixtures_of(numbers: Arrays) -> tuple[Mixing, Mixtures]:
    """The rows among the numbers of a release."""
    own = {name.removeprefix(ROWS): values for name, values in numbers.items() if name.startswith(ROWS)}
    mixing = Mixing(*(int(value) for value in own["mixing"]))
    return mixing, Mixtures(own["features"], own["labels"], float(own["deviation"]))


def recipe_of(numbers: Arrays) -> Recipe:
    """What public images made, among the numbers of a release."""
    return Recipe.from_arrays({name: values for name, values in numbers.items() if not name.startswith(ROWS)})


def fitted(numbers: Arrays) -> Classifier:
    """The linear classifier that suits rows and noise best; anybody may train another on the same rows."""
    recipe, (mixing, mixtures) = recipe_of(numbers), mixtures_of(numbers)
    return Classifier(recipe, heads.fit_class_sums(class_sums(mixtures, mixing), recipe.start))
