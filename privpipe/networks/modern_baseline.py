"""The residual network of the modern recipe."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from privpipe.networks.base import Architecture, Network

if TYPE_CHECKING:
    from torch import nn


class ModernBaseline(Network):
    """Eight convolutions with normalisation layers, in part around residual connections; FC."""

    name = "modern_baseline"
    stands_for = "baseline"
    halvings = 3

    def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
        from privpipe.layers import resnet9

        return resnet9(sizes.channels, sizes.image_size, sizes.classes)
