"""A small U-Net that adds its skips (Ronneberger, Fischer and Brox, 2015)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privpipe.layers import BlockFullyConnected

WIDTHS = (24, 48, 96)  # channels at full, half and quarter resolution


class UNet(nn.Module):
    """Inputs (B, inputs, H, W) to outputs (B, outputs, H, W), H and W multiples of 4."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        first, second, third = WIDTHS
        self.down = nn.ModuleList([_double(inputs, first), _double(first, second), _double(second, third)])
        self.narrow = nn.ModuleList([nn.Conv2d(second, first, 1), nn.Conv2d(third, second, 1)])
        self.up = nn.ModuleList([_single(first, first), _single(second, second)])
        self.out = nn.Conv2d(first, outputs, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        full = self.down[0](inputs.contiguous(memory_format=torch.channels_last))
        half = self.down[1](F.max_pool2d(full, 2))
        quarter = self.down[2](F.max_pool2d(half, 2))
        half = self.up[1](half + _twice(self.narrow[1](quarter)))
        full = self.up[0](full + _twice(self.narrow[0](half)))
        outputs: Tensor = self.out(full)
        return outputs


class LinearUNet(nn.Module):
    """The U-Net, and a linear function of the inputs at the same pixel. Both are zero at first."""

    def __init__(self, inputs: int, outputs: int, draws: torch.Generator):
        super().__init__()
        self.unet, self.linear = UNet(inputs, outputs), nn.Conv2d(inputs, outputs, 1)
        initialise(self, draws)
        nn.init.zeros_(self.unet.out.weight)
        nn.init.zeros_(self.linear.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.unet(inputs) + self.linear(inputs)
        return outputs


def initialise(network: nn.Module, draws: torch.Generator) -> None:
    """Convolutions after He et al. (2015); layers over blocks as the mean of each block."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=draws)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, BlockFullyConnected):
            nn.init.constant_(layer.weight, 1 / layer.weight.shape[-1])


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_single(inputs, outputs), _single(outputs, outputs))


def _single(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True))


def _twice(images: Tensor) -> Tensor:
    return F.interpolate(images, scale_factor=2, mode="nearest")
