"""The classifiers of the 2015 study, and the descrambler layer before them."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from privpipe.errors import PrivpipeError

WIDTHS = {"baseline": (32, 32, 64, 64), "three_layer": (32, 32), "descrambler": (32, 32, 64, 64)}


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network again.

    Args:
        arch: `baseline`, `three_layer` or `descrambler`.
        image_size: height and width of the input in pixels, a multiple of 4 (three_layer: of 2).
        channels: of the input.
        classes: number of outputs.
        k: block size of the descrambler layer, dividing `image_size`; ignored by the other two.
    """

    arch: str
    image_size: int
    channels: int
    classes: int
    k: int = 1


class BlockFullyConnected(nn.Module):
    """The BFC layer: each output pixel is a linear combination of the pixels of its own k×k block.

    Every block has its own weights, shared by the colours; no bias. `weight[b, i, j]` is what pixel j of
    block b contributes to output pixel i, float32 (blocks, k*k, k*k), blocks and pixels in row-major order.
    """

    def __init__(self, image_size: int, k: int):
        super().__init__()
        self.k, self.side = k, image_size // k
        self.weight = nn.Parameter(torch.empty(self.side**2, k * k, k * k))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W), channels last in memory."""
        batch, channels = x.shape[:2]
        s, k = self.side, self.k
        # (s*s, B*C, k*k): one matrix product per block position, over the batch and the colours.
        blocks = (
            x.reshape(batch, channels, s, k, s, k).permute(2, 4, 0, 1, 3, 5).reshape(s * s, batch * channels, k * k)
        )
        mixed = torch.bmm(blocks, self.weight.transpose(1, 2))
        # Straight to (B, H, W, C), so that the result is channels last without another copy.
        image = (
            mixed.reshape(s, s, batch, channels, k, k).permute(2, 0, 4, 1, 5, 3).reshape(batch, s * k, s * k, channels)
        )
        return image.permute(0, 3, 1, 2)


def build(architecture: Architecture, generator: torch.Generator | None = None) -> nn.Sequential:
    """The network, from normalised images (B, C, H, W) to class scores (B, classes).

    baseline: CONV-RELU, CONV-RELU-POOL, CONV-RELU, CONV-RELU-POOL, FC. three_layer: CONV-RELU,
    CONV-RELU-POOL, FC. descrambler: a BFC layer before the baseline. 3×3 convolutions, 2×2 max pooling.

    Args:
        generator: draws the initial weights (He et al. 2015: normal with variance 2 / fan-in; the last layer
            1 / fan-in, biases zero; the BFC layer 1 / k², so that it keeps the variance of its input).
            None leaves them for a state dict to fill.

    Raises:
        PrivpipeError: the sizes do not fit the architecture.
    """
    widths = WIDTHS.get(architecture.arch)
    if widths is None:
        raise PrivpipeError(f"model.arch must be one of {', '.join(WIDTHS)}; got {architecture.arch!r}.")
    for name in ("image_size", "channels", "classes", "k"):
        value = getattr(architecture, name)
        if type(value) is not int or value < 1:
            raise PrivpipeError(f"the {name} of a network must be a whole number of at least 1; got {value!r}.")
    pools = len(widths) // 2
    if architecture.image_size % 2**pools:
        raise PrivpipeError(
            f"{architecture.arch} halves the image {pools} times, so data.image_size must be a multiple of {2**pools}; "
            f"got {architecture.image_size}."
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if architecture.arch == "descrambler":
        if architecture.image_size % architecture.k:
            raise PrivpipeError(
                f"the descrambler's block size must divide the image size {architecture.image_size}; "
                f"got {architecture.k}. Use a perturb.k that divides it."
            )
        layers["bfc"] = BlockFullyConnected(architecture.image_size, architecture.k)
    channels, size = architecture.channels, architecture.image_size
    for i, width in enumerate(widths, 1):
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, padding=1)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        channels = width
        if i % 2 == 0:
            layers[f"pool{i // 2}"] = nn.MaxPool2d(2)
            size //= 2
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels * size * size, architecture.classes)
    model = nn.Sequential(layers)
    if generator is not None:
        _initialise(model, generator)
    return channels_last(model)


def channels_last(model: nn.Sequential) -> nn.Sequential:
    """The same model with its convolutions in the memory layout of the images, the fast one."""
    # torch's stubs know no memory_format of a module, though its documentation does.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _initialise(model: nn.Sequential, generator: torch.Generator) -> None:
    for name, layer in model.named_children():
        if isinstance(layer, BlockFullyConnected):
            nn.init.normal_(layer.weight, 0.0, 1.0 / layer.k, generator=generator)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(
                layer.weight, nonlinearity="linear" if name == "fc" else "relu", generator=generator
            )
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
