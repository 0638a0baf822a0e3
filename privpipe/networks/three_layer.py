"""The study's classifier of two convolutions."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from privpipe.networks.base import Architecture, Network

if TYPE_CHECKING:
    from torch import nn


class ThreeLayer(Network):
    """CONV-RELU, CONV-RELU-POOL, FC."""

    name = "three_layer"
    halvings = 1

    def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
        from privpipe.layers import plain

        return plain(sizes.channels, sizes.image_size, sizes.classes, (32, 32))
