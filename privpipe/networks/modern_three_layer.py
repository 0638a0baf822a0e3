"""The classifier of two convolutions of the modern recipe."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from privpipe.networks.base import Architecture, Network

if TYPE_CHECKING:
    from torch import nn


class ModernThreeLayer(Network):
    """`three_layer` with a normalisation layer after each convolution."""

    name = "modern_three_layer"
    stands_for = "three_layer"
    halvings = 1

    def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
        from privpipe.layers import plain

        return plain(sizes.channels, sizes.image_size, sizes.classes, (32, 32), normalised=True)
