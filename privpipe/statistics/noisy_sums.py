"""The numbers of a release of noisy sums: how they are laid out, and what is fitted to them.

Beside the sums stand the maps from images to vectors and what public images told beforehand: both follow from public
images, and whoever fits a classifier needs them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privpipe.statistics.classifier import Classifier
from privpipe.statistics.mechanism import Sums
from privpipe.statistics.recipe import Recipe

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
