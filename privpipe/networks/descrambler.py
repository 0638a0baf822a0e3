"""A descrambler layer before a classifier, and what it demands: images that were perturbed in blocks."""

from collections import OrderedDict
from typing import TYPE_CHECKING, ClassVar

from privpipe.errors import unknown
from privpipe.networks.base import Architecture, Network
from privpipe.networks.baseline import Baseline
from privpipe.perturb import METHODS, Perturbation

if TYPE_CHECKING:
    from torch import nn

CHOICES = ("learned", "learned_smooth", "inferred")  # of `model.descrambler`


class Descrambler(Network):
    """A block fully connected (BFC) layer, then `baseline`.

    Attributes:
        behind: the network behind the BFC layer.
    """

    name = "descrambler"
    halvings = Baseline.halvings
    descrambles = True
    behind: ClassVar[type[Network]] = Baseline

    def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
        from privpipe.layers import BlockFullyConnected

        return OrderedDict(bfc=BlockFullyConnected(sizes.image_size, sizes.k), **self.behind().layers(sizes))

    def block_size(self, image_size: int, k: int) -> int:
        return k

    def size_problem(self, sizes: Architecture) -> str | None:
        problem = super().size_problem(sizes)
        return block_problem("descrambler", sizes) if problem is None else problem

    def experiment_problems(self, method: Perturbation, descrambler: str) -> list[str]:
        problems = super().experiment_problems(method, descrambler)
        if not method.blocks:
            return [*problems, blocks_missing(self.stands_for or self.name, method)]
        problem = choice_problem(descrambler, method.name, method.scope, method.k, method.image_size)
        return problems if problem is None else [*problems, problem]


def block_problem(what: str, sizes: Architecture) -> str | None:
    """Why `sizes.k` is no block size for such images; None where it is."""
    if sizes.image_size % sizes.k == 0:
        return None
    return (
        f"the {what}'s block size must divide the image size {sizes.image_size}; got {sizes.k}. Use a perturb.k that "
        "divides it."
    )


def blocks_missing(arch: str, method: Perturbation) -> str:
    """That `arch` needs a method that works on blocks."""
    blocks = ", ".join(name for name, other in METHODS.items() if other.blocks)
    return (
        f"model.arch={arch} needs a method that works on blocks ({blocks}); got perturb.method={method.name}. Set "
        "model.arch=baseline, or one of these methods."
    )


def choice_problem(choice: str, method: str, scope: str, k: int, image_size: int) -> str | None:
    """Why `model.descrambler` cannot be `choice` with such images; None where it can."""
    if choice not in CHOICES:
        return unknown("model.descrambler", choice, list(CHOICES))
    if choice == "learned":
        return None
    permuting = [name for name, kind in METHODS.items() if kind.permutes_within_blocks]
    if method not in permuting or scope != "dataset":
        return (
            f"model.descrambler={choice} looks for the permutations that all images share, so it needs "
            f"perturb.method={' or '.join(permuting)} and perturb.scope=dataset; got {method} and {scope}. "
            "Set model.descrambler=learned, or these."
        )
    if k >= image_size:
        return (
            f"model.descrambler={choice} compares the pixels of a block with other blocks, so perturb.k must "
            f"be smaller than data.image_size={image_size}; got {k}. Set model.descrambler=learned, or a smaller "
            "perturb.k."
        )
    return None
