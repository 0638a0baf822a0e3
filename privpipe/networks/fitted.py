"""A classifier that is fitted to a release of a whole set, in one step; it is no `model.arch`."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from privpipe.networks.base import Architecture, Network

if TYPE_CHECKING:
    from torch import nn


class Fitted(Network):
    """Features that follow from public images, and a head on them (`privpipe.statistics.classifier`)."""

    name = "fitted"
    trained = False

    def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
        from privpipe.statistics.classifier import ClassifierModule

        return OrderedDict(classifier=ClassifierModule({name: tuple(shape) for name, shape in sizes.shapes}))
