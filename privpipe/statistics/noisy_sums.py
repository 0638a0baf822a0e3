"""The numbers of a release of noisy sums: how they are laid out, what is fitted to them, and who is told from them.

Beside the sums stand the maps from images to vectors and what public images told beforehand: both follow from public
images, and whoever fits a classifier needs them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privpipe.statistics.classifier import Classifier
from privpipe.statistics.dp_statistics import Recipe
from privpipe.statistics.mechanism import Budget, Sums
from privpipe.statistics.values import Doubles, Floats, Images, Labels

FORM, SUMS = "noisy_sums", "sums."
Arrays = Mapping[str, NDArray[Any]]


def numbers_of(recipe: Recipe, sums: Sums) -> dict[str, NDArray[Any]]:
    """All that is released, by name."""
    noisy = {"cross": sums.cross, "count": np.int64(sums.count), "cross_variance": np.float64(sums.cross_variance)}
    if sums.moment is not None:
        noisy |= {"moment": sums.moment, "moment_variance": np.float64(sums.moment_variance)}
    return {**recipe.arrays(), **{f"{SUMS}{name}": np.asarray(values) for name, values in noisy.items()}}


def recipe_of(numbers: Arrays) -> Recipe:
    """What public images made, among the numbers of a release."""
    return Recipe.from_arrays({name: values for name, values in numbers.items() if not name.startswith(SUMS)})


def sums_of(numbers: Arrays) -> Sums:
    """The sums among the numbers of a release."""
    sums = {name.removeprefix(SUMS): values for name, values in numbers.items() if name.startswith(SUMS)}
    variance = float(sums.get("moment_variance", 0.0))
    return Sums(sums["cross"], sums.get("moment"), int(sums["count"]), float(sums["cross_variance"]), variance)


def fitted(numbers: Arrays) -> Classifier:
    """The classifier that the numbers of a release make possible."""
    recipe = recipe_of(numbers)
    return Classifier(recipe, recipe.head(sums_of(numbers)))


def linked(
    numbers: Arrays, budget: Budget, candidates: Images, labels: Labels, targets: int, rng: np.random.Generator
) -> float:
    """How often an image of a set is told among the candidates of its class, 0..1.

    The adversary knows all other images of the set and subtracts them: what is left is t of `mechanism` and noise, and
    the likeliest candidate is the best guess (`membership`). Each target is the unknown image of a release with noise
    of its own, since the one noise of one release would make the outcomes of all targets alike. Images that are in no
    release will do: so what is published of this tells nothing of those that are.

    Args:
        numbers: of a release; its maps are used, its noise is not.
        candidates: uint8 (M, H, W, C).
        labels: their classes, int64 (M,).
        targets: the first so many candidates are each sought once.
        rng: of the noise.
    """
    recipe, right = recipe_of(numbers), 0
    z = recipe.vectors(candidates)
    r = recipe.targets(z, labels)
    for row, label in enumerate(labels[:targets]):
        rows = np.flatnonzero(labels == label)
        rows = np.concatenate([[row], rows[rows != row]])
        right += int(_log_likelihoods(z[rows], r[rows], budget, rng).argmax() == 0)
    return right / len(labels[:targets])


def _log_likelihoods(z: Floats, r: Floats, budget: Budget, rng: np.random.Generator) -> Doubles:
    """Of each candidate (M, d) and (M, classes), where the first one is in the set, up to a common term.

    With t of a candidate in units of the noise, that is t·(t_first + noise) - |t|²/2. The products of t follow from
    those of z and r, so that no t is written down.
    """
    scale, moment_scale = budget.scales
    near, lengths = z @ z[0], (z * z).sum(axis=1)
    noise = rng.standard_normal((r.shape[1], z.shape[1]), np.float32)
    found = scale**2 * (r @ r[0]) * near + scale * ((r @ noise) * z).sum(axis=1)
    own = scale**2 * (r * r).sum(axis=1) * lengths
    if budget.moment:
        # zᵀ N z of a symmetric N with variance 1 on the diagonal and 1/2 beside it is that of a full matrix N of
        # independent values of variance 1, whose symmetric part it is.
        drawn = rng.standard_normal((z.shape[1], z.shape[1]), np.float32)
        found += moment_scale**2 * near**2 + moment_scale * ((z @ drawn) * z).sum(axis=1)
        own += moment_scale**2 * lengths**2
    return np.asarray(found - own / 2, np.float64)
