"""Build a network: its layers, their initial weights, and their layout in memory."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from privpipe.errors import PrivpipeError
from privpipe.layers import BlockFullyConnected, Folded
from privpipe.networks.base import Architecture
from privpipe.networks.registry import NETWORKS
from privpipe.nn.fitted import network_called


def build(architecture: Architecture, generator: torch.Generator | None = None) -> nn.Sequential:
    """The network, from normalised images (B, C, H, W) to class scores (B, classes).

    Args:
        generator: draws the initial weights (He et al. 2015: normal with variance 2 / fan-in; the layer "fc"
            1 / fan-in, biases zero; the BFC layer 1 / k², so that it keeps the variance of its input), and its seed
            those of layers of other kinds, as they draw them. None leaves them for a state dict to fill.

    Raises:
        PrivpipeError: there is no such network, the sizes do not fit it, or a model file cannot hold its state.
    """
    kind = network_called(architecture.arch)
    if kind is None:
        raise PrivpipeError(f"a network must be one of {', '.join(NETWORKS)}; got {architecture.arch!r}.")
    network = kind()
    for field in ("image_size", "channels", "classes", "k"):
        value = getattr(architecture, field)
        if type(value) is not int or value < 1:
            raise PrivpipeError(f"the {field} of a network must be a whole number of at least 1; got {value!r}.")
    problem = network.size_problem(architecture)
    if problem is not None:
        raise PrivpipeError(problem)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0 if generator is None else generator.initial_seed())
        layers = network.layers(architecture)
        if architecture.folded:
            layers = OrderedDict(folded=Folded(), **layers)
        model = nn.Sequential(layers)
    _check_state(model, architecture.arch)
    if generator is not None:
        _initialise(model, generator)
    return channels_last(model)


def _check_state(model: nn.Sequential, arch: str) -> None:
    """Leave out counts of batches, as `privpipe.layers.norm` does, and refuse what else is not float32."""
    for layer in model.modules():
        if isinstance(layer, _NormBase) and layer.momentum is not None:
            layer.num_batches_tracked = None
    for name, tensor in model.state_dict().items():
        if tensor.dtype != torch.float32:
            raise PrivpipeError(
                f"a model file holds float32 alone, and {name} of {arch} is {tensor.dtype}. Register it with "
                "persistent=False, or make it float32."
            )


def channels_last(model: nn.Sequential) -> nn.Sequential:
    """The same model with its convolutions in the memory layout of the images, the fast one."""
    # torch's stubs know no memory_format of a module, though its documentation does.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's stubs


def _initialise(model: nn.Sequential, generator: torch.Generator) -> None:
    for name, layer in model.named_modules():
        if isinstance(layer, BlockFullyConnected):
            nn.init.normal_(layer.weight, 0.0, 1.0 / layer.k, generator=generator)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(
                layer.weight, nonlinearity="linear" if name == "fc" else "relu", generator=generator
            )
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
