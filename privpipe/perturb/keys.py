"""How much of a key was found, for the forms of keys that several methods have."""

from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class KeyRecovery:
    """How much of a key was found, 0..1.

    Args:
        pixels: fraction of the entries of a permutation that are right; for other keys the |cosine| between what was
            found and the truth.
        blocks: fraction of permutations without a wrong entry; None for other keys.
    """

    pixels: float
    blocks: float | None


def of_permutations(estimate: NDArray[Any], truth: NDArray[Any]) -> KeyRecovery:
    """Permutations (..., n) compared with true ones of the same shape, or of all images."""
    right = estimate == truth
    return KeyRecovery(float(right.mean()), float(right.all(axis=-1).mean()))


def of_directions(estimate: NDArray[Any], truth: NDArray[Any], axes: int) -> KeyRecovery:
    """|cosine| of the directions that the last `axes` axes hold, mean over the others. A key of zeros has none: 0."""
    direction = tuple(range(-axes, 0))
    one, other = estimate.astype(np.float64), truth.astype(np.float64)
    norms = np.sqrt((one**2).sum(axis=direction) * (other**2).sum(axis=direction))
    products = np.abs((one * other).sum(axis=direction))
    return KeyRecovery(float(np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0).mean()), None)


def chance_of_permutation(n: int) -> KeyRecovery:
    """A random permutation of n items has one fixed point on average and is right with 1/n!."""
    return KeyRecovery(1 / n, 1 / factorial(n))


def chance_of_direction(dimensions: float) -> KeyRecovery:
    """Two independent directions in d dimensions have the expected |cosine| Γ(d/2) / (√π·Γ((d+1)/2))."""
    from scipy.special import gammaln  # here: as in `privpipe.perturb.keystream.normal`

    d = float(dimensions)
    return KeyRecovery(float(np.exp(gammaln(d / 2) - gammaln((d + 1) / 2)) / np.sqrt(np.pi)), None)
