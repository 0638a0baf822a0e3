"""What a key solves, given known pairs of an original and its perturbed image, in a few kinds of equations.

Images are (m, H, W, C); the methods say which values of them go together, `privpipe.attacks.known_plaintext` solves.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from privpipe.perturb.values import Array, Doubles


def first(permutations: Array, forms: Array) -> Array:
    """The key of `Permuted` items that take one form only."""
    return permutations


@dataclass(frozen=True)
class Permuted:
    """The key permutes n items in each of some systems, and may give each another form.

    Item i of a perturbed image is item p[s, i] of the original, in form v[s, i].

    Args:
        rows: images to whole numbers, float64 (systems, values of all images, n): column i is item i.
        key: p and v, int32 (systems, n) each, to the form of `Perturbation.dataset_key`.
        forms: originals to `rows` in each form that items can take, in the order in which v counts them; None: `rows`.
    """

    rows: Callable[[Array], Doubles]
    key: Callable[[Array, Array], Array] = first
    forms: Callable[[Array], Iterator[Doubles]] | None = None


@dataclass(frozen=True)
class Nested:
    """Blocks change places, and each is changed by a key of its place; `outer` is solved first.

    Args:
        outer: the blocks by what no key of a place changes.
        moved: originals and the key of `outer` to originals whose blocks are at their new places.
        inner: what the key of each place does to those.
        key: the keys of `outer` and `inner` to the form of `Perturbation.dataset_key`.
    """

    outer: Permuted
    moved: Callable[[Array, Array], Array]
    inner: Permuted
    key: Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Substituted:
    """At some places, the same in all images, a secret bijection of 0..255 is applied to what stands there.

    Args:
        values: images to uint8 (places, values of all images).
        key: which places, bool (places,), and the bijection, uint8 (256,), to the form of `Perturbation.dataset_key`.
    """

    values: Callable[[Array], Array]
    key: Callable[[Array, Array], Array]


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
    """The key is noise in grey levels that is added to all images (`Perturbation.noise_is_key`).

    Args:
        sigma: its standard deviation.
        step: of which what comes out is a multiple, beside what its type rounds.
    """

    sigma: float
    step: float = 0.0


@dataclass(frozen=True)
class Flipped:
    """The key is which bits are flipped in all images, uint8 (H, W, C).

    Args:
        before: originals to the values whose bits are flipped, uint8 (m, H, W, C).
        after: perturbed images to the values that came out, of the same form.
        exactly: perturbed images to the pixels of which `after` tells that without fail, bool (m, H, W).
    """

    before: Callable[[Array], Array]
    after: Callable[[Array], Array]
    exactly: Callable[[Array], Array]


Equations = Permuted | Nested | Substituted | Linear | Added | Flipped
