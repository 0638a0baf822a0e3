"""The classifiers of the 2015 study, the descrambler layer before them, and stronger networks in their place."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from privpipe.errors import PrivpipeError

DESCRAMBLER = "descrambler"
WIDTHS = {"baseline": (32, 32, 64, 64), "three_layer": (32, 32), DESCRAMBLER: (32, 32, 64, 64)}
MODERN = "modern_"  # begins the names of the networks of the modern recipe
NETWORKS = (*WIDTHS, *(MODERN + name for name in WIDTHS))


def network_name(arch: str, style: str) -> str:
    """The network that stands for `model.arch` under a recipe: `baseline` or `modern_baseline`, and so on."""
    return MODERN + arch if style == "modern" else arch


def has_descrambler(network: str) -> bool:
    """Whether a network begins with a BFC layer."""
    return network.removeprefix(MODERN) == DESCRAMBLER


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network again.

    Args:
        arch: one of `NETWORKS`.
        image_size: height and width of the input in pixels, a multiple of 4 (three_layer: of 2; modern_baseline and
            modern_descrambler: of 8).
        channels: of the input.
        classes: number of outputs.
        k: block size of the descrambler layer, dividing `image_size`; ignored by networks without one.
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


class Residual(nn.Module):
    """x + body(x): a residual block (He et al. 2016) that keeps its input's shape."""

    def __init__(self, *body: nn.Module):
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out


def build(architecture: Architecture, generator: torch.Generator | None = None) -> nn.Sequential:
    """The network, from normalised images (B, C, H, W) to class scores (B, classes).

    baseline: CONV-RELU, CONV-RELU-POOL, CONV-RELU, CONV-RELU-POOL, FC. three_layer: CONV-RELU,
    CONV-RELU-POOL, FC. descrambler: a BFC layer before the baseline. 3×3 convolutions, 2×2 max pooling.
    modern_three_layer has a normalisation layer (Ioffe and Szegedy 2015) after each convolution; modern_baseline and
    modern_descrambler have the residual network of nine layers that won DAWNBench in 2018 (David Page, "How to train
    your ResNet").

    Args:
        generator: draws the initial weights (He et al. 2015: normal with variance 2 / fan-in; the last layer
            1 / fan-in, biases zero; the BFC layer 1 / k², so that it keeps the variance of its input).
            None leaves them for a state dict to fill.

    Raises:
        PrivpipeError: the sizes do not fit the architecture.
    """
    if architecture.arch not in NETWORKS:
        raise PrivpipeError(f"a network must be one of {', '.join(NETWORKS)}; got {architecture.arch!r}.")
    modern, name = architecture.arch.startswith(MODERN), architecture.arch.removeprefix(MODERN)
    residual = modern and name != "three_layer"
    for field in ("image_size", "channels", "classes", "k"):
        value = getattr(architecture, field)
        if type(value) is not int or value < 1:
            raise PrivpipeError(f"the {field} of a network must be a whole number of at least 1; got {value!r}.")
    pools = 3 if residual else len(WIDTHS[name]) // 2
    if architecture.image_size % 2**pools:
        raise PrivpipeError(
            f"{architecture.arch} halves the image {pools} times, so data.image_size must be a multiple of {2**pools}; "
            f"got {architecture.image_size}."
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if has_descrambler(architecture.arch):
        if architecture.image_size % architecture.k:
            raise PrivpipeError(
                f"the descrambler's block size must divide the image size {architecture.image_size}; "
                f"got {architecture.k}. Use a perturb.k that divides it."
            )
        layers["bfc"] = BlockFullyConnected(architecture.image_size, architecture.k)
    size = architecture.image_size // 2**pools
    if residual:
        layers.update(_resnet9(architecture.channels, size))
        features = 512
    else:
        layers.update(_plain(architecture.channels, WIDTHS[name], modern))
        features = WIDTHS[name][-1] * size * size
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(features, architecture.classes)
    model = nn.Sequential(layers)
    if generator is not None:
        _initialise(model, generator)
    return channels_last(model)


def _plain(channels: int, widths: tuple[int, ...], normalised: bool) -> OrderedDict[str, nn.Module]:
    """Convolutions of the given widths with pooling after each second one."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, width in enumerate(widths, 1):
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, padding=1)
        if normalised:
            layers[f"norm{i}"] = _norm(width)
        # The largest of rectified values is the largest value, rectified: a quarter of the work in this order.
        if i % 2 == 0:
            layers[f"pool{i // 2}"] = nn.MaxPool2d(2)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        channels = width
    return layers


def _resnet9(channels: int, size: int) -> OrderedDict[str, nn.Module]:
    """Eight convolutions in front of the last layer; `size` is the height and width before the last pooling."""

    def conv(of: int, to: int) -> list[nn.Module]:
        return [nn.Conv2d(of, to, 3, padding=1, bias=False), _norm(to), nn.ReLU(inplace=True)]

    return OrderedDict(
        prep=nn.Sequential(*conv(channels, 64)),
        stage1=nn.Sequential(*conv(64, 128), nn.MaxPool2d(2)),
        residual1=Residual(*conv(128, 128), *conv(128, 128)),
        stage2=nn.Sequential(*conv(128, 256), nn.MaxPool2d(2)),
        stage3=nn.Sequential(*conv(256, 512), nn.MaxPool2d(2)),
        residual3=Residual(*conv(512, 512), *conv(512, 512)),
        pool=nn.MaxPool2d(size),
    )


def _norm(width: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(width)
    layer.num_batches_tracked = None  # a count that only a cumulative average needs: a model is float32 throughout
    return layer


def channels_last(model: nn.Sequential) -> nn.Sequential:
    """The same model with its convolutions in the memory layout of the images, the fast one."""
    # torch's stubs know no memory_format of a module, though its documentation does.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


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
