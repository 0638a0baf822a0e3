"""The network that is fitted to a release of a whole set, in one step. It is never trained, and no `model.arch`."""

from collections import OrderedDict

from torch import nn

from privpipe.networks.base import Architecture, Network
from privpipe.networks.registry import NETWORKS
from privpipe.statistics.classifier import ClassifierModule


class Fitted(Network):
    """Features that follow from public images, and a head on them (`privpipe.statistics.classifier`)."""

    name = "fitted"

    def layers(self, sizes: Architecture) -> OrderedDict[str, nn.Module]:
        return OrderedDict(classifier=ClassifierModule({name: tuple(shape) for name, shape in sizes.shapes}))


def network_called(name: str) -> type[Network] | None:
    """The network of this name in model files, trained or fitted; None where there is none."""
    return Fitted if name == Fitted.name else NETWORKS.get(name)
