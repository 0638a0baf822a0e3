"""What a key solves, given known pairs of an original and its perturbed image: three kinds of equations.

Images are (m, H, W, C); the methods say which values of them go together, `privpipe.attacks.known_plaintext` solves.
"""

from collections.abc import Callable
from dataclasses import dataclass

from privpipe.perturb.values import Array, Doubles


@dataclass(frozen=True)
class Permuted:
    """The key, int32 (systems, n), permutes n items: item i of a perturbed image is item key[s, i] of the original.

    Args:
        rows: images to float64 (systems, values of all images, n): column i is item i.
        systems, n: how many permutations, of how many items each.
        key: permutations (systems, n) to the form of `Perturbation.dataset_key`.
    """

    rows: Callable[[Array], Doubles]
    systems: int
    n: int
    key: Callable[[Array], Array] = lambda permutations: permutations


@dataclass(frozen=True)
class Linear:
    """The key is the weights of y = w · x in some systems of equations, independent N(0, `variance`) beforehand.

    Args:
        x: originals, float64 in units where white is 1, to (systems, equations, n); equations count images, then
            places, then colours.
        y: perturbed images in the same units to (systems, equations, right-hand sides).
        key: weights (systems, n, right-hand sides) to the form of `Perturbation.dataset_key`.
        systems, n: how many, and how many unknowns each has for a right-hand side.
        variance: of a weight.
        overdetermined: whether a single pair has more equations than there are unknowns. Pairs are then taken one at a
            time, and a key is believed by what it leaves unexplained; else by how far beyond the means it explains.
    """

    x: Callable[[Doubles], Doubles]
    y: Callable[[Doubles], Doubles]
    key: Callable[[Doubles], Array]
    systems: int
    n: int
    variance: float
    overdetermined: bool


@dataclass(frozen=True)
class Added:
    """The key is a field, (H, W, C) in grey levels, that is added to all images; `sigma` is its standard deviation."""

    sigma: float


Equations = Permuted | Linear | Added
