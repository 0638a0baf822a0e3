"""Layers that several networks share.

They need torch, so they lie outside `privpipe.networks`, which is looked through by programs that never train. Networks
import them inside `Network.layers`.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn


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


class Folded(nn.Module):
    """Absolute values over their mean in each image, less 1: neither signs nor the contrast of an image change them.

    So a mixture of images, which has less contrast than an image, comes out in the same range as one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in units where mid-grey is 0, to the same shape."""
        values = x.abs()
        return values / values.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6) - 1


class BlockLinear(nn.Module):
    """Each k×k block by itself, with all its colours: a linear layer from its values to as many, with its own weights.

    `weight[b, i, j]` is what value j of block b contributes to value i, float32 (blocks, C*k*k, C*k*k); `bias` has one
    number for each value, (blocks * C*k*k,). Blocks are counted row by row; the values of a block by colour, then row.
    """

    def __init__(self, image_size: int, k: int, channels: int):
        super().__init__()
        self.k, self.side, self.channels = k, image_size // k, channels
        values = channels * k * k
        self.weight = nn.Parameter(torch.empty(self.side**2, values, values))
        self.bias = nn.Parameter(torch.zeros(self.side**2 * values))
        nn.init.normal_(self.weight, 0.0, (2 / values) ** 0.5)  # He et al. 2015, for ReLU

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W), channels last in memory."""
        batch, (s, k, c) = len(x), (self.side, self.k, self.channels)
        blocks = x.reshape(batch, c, s, k, s, k).permute(2, 4, 0, 1, 3, 5).reshape(s * s, batch, c * k * k)
        mixed = torch.bmm(blocks, self.weight.transpose(1, 2)) + self.bias.reshape(s * s, 1, -1)
        image = mixed.reshape(s, s, batch, c, k, k).permute(2, 0, 4, 1, 5, 3).reshape(batch, s * k, s * k, c)
        return image.permute(0, 3, 1, 2)


class Patches(nn.Module):
    """Images (B, C, H, W) to a vector for each k×k block, (B, blocks, width): linear, plus one for its place."""

    def __init__(self, image_size: int, k: int, channels: int, width: int):
        super().__init__()
        self.k, self.side, self.channels = k, image_size // k, channels
        self.embed = TokenLinear(channels * k * k, width)
        self.places = nn.Parameter(torch.randn(self.side**2, width))  # as large as what the patches show

    def forward(self, x: Tensor) -> Tensor:
        batch, (s, k, c) = len(x), (self.side, self.k, self.channels)
        tokens = x.reshape(batch, c, s, k, s, k).permute(0, 2, 4, 1, 3, 5).reshape(batch, s * s, c * k * k)
        out: Tensor = self.embed(tokens) + self.places
        return out


class TokenLinear(nn.Linear):
    """A linear layer of each of several vectors of an image, (B, n, features)."""


class Attention(nn.Module):
    """Self-attention of several heads over n vectors, (B, n, width) to the same (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        # Without biases: one of the keys would change nothing.
        self.parts, self.out = TokenLinear(width, 3 * width, bias=False), TokenLinear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, n, width = x.shape
        # (3, B, heads, n, width / heads); written out, since torch's fused kernels are not deterministic on a GPU.
        query, key, value = self.parts(x).reshape(batch, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(-1)
        out: Tensor = self.out((weights.to(value.dtype) @ value).transpose(1, 2).reshape(batch, n, width))
        return out


class TokenMean(nn.Module):
    """The mean of an image's vectors, (B, n, width) to (B, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Residual(nn.Module):
    """x + body(x): a residual block (He et al. 2016) that keeps its input's shape."""

    def __init__(self, *body: nn.Module):
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out


def plain(
    channels: int, image_size: int, classes: int, widths: tuple[int, ...], normalised: bool = False
) -> OrderedDict[str, nn.Module]:
    """3×3 convolutions of the given widths with 2×2 pooling after each second one, then one linear layer.

    Args:
        channels, image_size: of the input.
        classes: number of outputs.
        normalised: whether a normalisation layer (Ioffe and Szegedy 2015) follows each convolution.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    size = image_size // 2 ** (len(widths) // 2)
    for i, width in enumerate(widths, 1):
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, padding=1)
        if normalised:
            layers[f"norm{i}"] = norm(width)
        # The largest of rectified values is the largest value, rectified: a quarter of the work in this order.
        if i % 2 == 0:
            layers[f"pool{i // 2}"] = nn.MaxPool2d(2)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        channels = width
    return layers | classifier(channels * size * size, classes)


def resnet9(channels: int, image_size: int, classes: int) -> OrderedDict[str, nn.Module]:
    """The residual network of nine layers that won DAWNBench in 2018 (David Page, "How to train your ResNet").

    Args: as `plain`.
    """

    def conv(of: int, to: int) -> list[nn.Module]:
        return [nn.Conv2d(of, to, 3, padding=1, bias=False), norm(to), nn.ReLU(inplace=True)]

    layers: OrderedDict[str, nn.Module] = OrderedDict(
        prep=nn.Sequential(*conv(channels, 64)),
        stage1=nn.Sequential(*conv(64, 128), nn.MaxPool2d(2)),
        residual1=Residual(*conv(128, 128), *conv(128, 128)),
        stage2=nn.Sequential(*conv(128, 256), nn.MaxPool2d(2)),
        stage3=nn.Sequential(*conv(256, 512), nn.MaxPool2d(2)),
        residual3=Residual(*conv(512, 512), *conv(512, 512)),
        pool=nn.MaxPool2d(image_size // 8),  # all that three poolings leave
    )
    return layers | classifier(512, classes)


def classifier(features: int, classes: int) -> OrderedDict[str, nn.Module]:
    """One linear layer from all features to the class scores."""
    return OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(features, classes))


def norm(width: int) -> nn.BatchNorm2d:
    """A normalisation layer whose state is float32 throughout, as that of a model is."""
    layer = nn.BatchNorm2d(width)
    layer.num_batches_tracked = None  # a count that only a cumulative average needs
    return layer
