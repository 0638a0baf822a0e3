"""A small U-Net that adds its skips (Ronneberger, Fischer and Brox, 2015), as `privpipe.attacks.network` has it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privpipe.attacks.network import WIDTHS


class UNet(nn.Module):
    """Inputs (B, inputs, H, W) to outputs (B, outputs, H, W), H and W multiples of 4.

    The outputs start from a linear function of the inputs at the same pixel, which is zero at first; so is the rest.
    """

    def __init__(self, inputs: int, outputs: int, draws: torch.Generator):
        super().__init__()
        first, second, third = WIDTHS
        self.down = nn.ModuleList([_double(inputs, first), _double(first, second), _double(second, third)])
        self.narrow = nn.ModuleList([nn.Conv2d(second, first, 1), nn.Conv2d(third, second, 1)])
        self.up = nn.ModuleList([_single(first, first), _single(second, second)])
        self.out, self.linear = nn.Conv2d(first, outputs, 3, padding=1), nn.Conv2d(inputs, outputs, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=draws)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.linear.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        full = self.down[0](inputs)
        half = self.down[1](F.max_pool2d(full, 2))
        quarter = self.down[2](F.max_pool2d(half, 2))
        half = self.up[1](half + _twice(self.narrow[1](quarter)))
        full = self.up[0](full + _twice(self.narrow[0](half)))
        outputs: Tensor = self.out(full) + self.linear(inputs)
        return outputs


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_single(inputs, outputs), _single(outputs, outputs))


def _single(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True))


def _twice(images: Tensor) -> Tensor:
    return F.interpolate(images, scale_factor=2, mode="nearest")
