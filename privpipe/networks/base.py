"""What a network is: its layers, and what it demands of an experiment.

A network is one class in one file of this folder, or in another package that names it as an entry point
`privpipe.networks`; `privpipe/networks/registry.py` finds them. Parameters are checked with them before any work, also
by programs that never train: import torch inside `layers`, so that those start fast.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import nn

    from privpipe.perturb import Perturbation


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network again.

    Args:
        arch: the name of a network.
        image_size: height and width of the input in pixels, a multiple of 2**halvings of the network.
        channels: of the input.
        classes: number of outputs.
        k: size of the blocks that layers treat apart, dividing `image_size`; see `Network.block_size`.
        folded: whether a `privpipe.layers.Folded` comes first, for images whose signs were hidden.
        shapes: of a network that is fitted to a release and not trained: its arrays by name; empty for all others.
    """

    arch: str
    image_size: int
    channels: int
    classes: int
    k: int = 1
    folded: bool = False
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()


class Network(ABC):
    """One classifier.

    Attributes:
        name: in model files and as `model.arch`, lower case with underscores.
        stands_for: the `model.arch` whose place it takes under `train.recipe: modern`; None: it is one of its own,
            which is trained with either recipe unless another network stands for it.
        halvings: how often it halves height and width.
        descrambles: whether it begins with a `privpipe.layers.BlockFullyConnected` of `Architecture.k`.
    """

    name: ClassVar[str]
    stands_for: ClassVar[str | None] = None
    halvings: ClassVar[int] = 0
    descrambles: ClassVar[bool] = False

    @abstractmethod
    def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
        """The layers by name, in turn: from normalised images (B, C, H, W) to scores (B, classes).

        Initial weights of convolutions, linear and BFC layers are drawn by `privpipe.nn.models.build`; others keep
        those that they draw themselves, which follow from `train.seed` as well.
        """

    def block_size(self, image_size: int, k: int) -> int:
        """`Architecture.k` for images that were perturbed with `k`, in blocks or not; 1 without blocks."""
        return 1

    def size_problem(self, sizes: Architecture) -> str | None:
        """Why it cannot be built for such images, with the remedy; None where it can."""
        return self._halving_problem(sizes.image_size)

    def experiment_problems(self, method: "Perturbation", descrambler: str) -> list[str]:
        """What it demands of an experiment that is not so, a sentence each with the remedy.

        Args:
            method: the transformation of the images, without a key.
            descrambler: as `model.descrambler`.
        """
        problem = self._halving_problem(method.output_shape(1)[0])
        return [] if problem is None else [problem]

    def _halving_problem(self, image_size: int) -> str | None:
        multiple = 2**self.halvings
        if image_size % multiple == 0:
            return None
        return (
            f"{self.name} halves the image {self.halvings} times, so its side must be a multiple of {multiple}; got "
            f"{image_size}. Change data.image_size, or perturb.k where a method gives a value for each block."
        )
