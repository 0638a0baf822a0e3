"""An adaptation network before a classifier: what undoes a scheme of blocks as far as a network can learn it."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from privpipe.networks.base import Architecture, Network
from privpipe.networks.baseline import Baseline
from privpipe.networks.descrambler import block_problem, blocks_missing

if TYPE_CHECKING:
    from torch import nn

    from privpipe.perturb import Perturbation


class Adaptation(Network):
    """Two fully connected layers for each block, with weights of its own and its colours together, ReLU between; then
    `baseline`.

    Tanaka puts a convolution of the size and the stride of a block before the classifier, and sub-pixel rearrangement
    behind it, so that blocks with one key are undone alike ("Learnable Image Encryption", IEEE ICCE-TW 2018, arXiv
    1804.00490). Madono et al. give each block a network of its own, for schemes with a key for each position
    ("Block-wise Scrambled Image Recognition Using Adaptation Network", AAAI workshop, 2020). Here are theirs, in the
    smallest form that is not linear: what a block of k·k·C values becomes has as many values, at the places of its
    pixels.
    """

    name = "adaptation"
    halvings = Baseline.halvings

    def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
        from torch import nn

        from privpipe.layers import BlockLinear

        first, second = (BlockLinear(sizes.image_size, sizes.k, sizes.channels) for _ in range(2))
        return OrderedDict(adapt1=first, relu0=nn.ReLU(), adapt2=second, **Baseline().layers(sizes))

    def block_size(self, image_size: int, k: int) -> int:
        return k

    def size_problem(self, sizes: Architecture) -> str | None:
        problem = super().size_problem(sizes)
        return block_problem("adaptation network", sizes) if problem is None else problem

    def experiment_problems(self, method: "Perturbation", descrambler: str) -> list[str]:
        problems = super().experiment_problems(method, descrambler)
        return problems if method.blocks else [*problems, blocks_missing(self.name, method)]
