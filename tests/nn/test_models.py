"""The networks against their description, and the BFC layer against a loop over blocks."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privpipe.errors import PrivpipeError
from privpipe.layers import BlockFullyConnected
from privpipe.networks.base import Architecture, Network
from privpipe.networks.registry import NETWORKS, architectures, network_for
from privpipe.nn.models import build
from privpipe.perturb import KeyStream
from privpipe.perturb.block_scramble import BlockScramble

# Pooling before ReLU is the same function as after it, and cheaper.
BASELINE = ["Conv2d", "ReLU", "Conv2d", "MaxPool2d", "ReLU"] * 2 + ["Flatten", "Linear"]
TRANSFORMER = ["LayerNorm", *["TokenLinear"] * 2, "LayerNorm", "TokenLinear", "ReLU", "TokenLinear"]
LAYERS = {
    "baseline": BASELINE,
    "three_layer": [*BASELINE[:5], "Flatten", "Linear"],
    "descrambler": ["BlockFullyConnected", *BASELINE],
    "adaptation": ["BlockLinear", "ReLU", "BlockLinear", *BASELINE],
    "vit": ["TokenLinear", *TRANSFORMER * 4, "LayerNorm", "TokenMean", "Linear"],
}
CONV, POOL = ["Conv2d", "BatchNorm2d", "ReLU"], ["MaxPool2d"]
RESNET = [*CONV, *CONV, *POOL, *CONV * 2, *CONV, *POOL, *CONV, *POOL, *CONV * 2, *POOL, "Flatten", "Linear"]
MODERN_LAYERS = {
    "modern_baseline": RESNET,
    "modern_three_layer": [*CONV, *CONV[:2], *POOL, "ReLU", "Flatten", "Linear"],
    "modern_descrambler": ["BlockFullyConnected", *RESNET],
}
# Widths in and out of the eight convolutions of the residual network, in order, but for the first's input.
WIDTHS = [(64, 128), (128, 128), (128, 128), (128, 256), (256, 512), (512, 512), (512, 512)]
RESNET_PARAMETERS = sum(9 * of * to for of, to in WIDTHS) + sum(2 * width for width in (64, *(to for _, to in WIDTHS)))

VIT_PARAMETERS = 4 * (2 * 256 + 4 * 128 * 128 + 128 + 2 * 2 * 128 * 128 + 3 * 128) + 256 + 10 * 128 + 10


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bfc(image_size: int, k: int, seed: int = 0) -> BlockFullyConnected:
    layer = BlockFullyConnected(image_size, k)
    nn.init.normal_(layer.weight, generator=generator(seed))
    return layer


def test_every_network_has_a_name() -> None:
    assert set(NETWORKS) == {*LAYERS, *MODERN_LAYERS} and architectures() == sorted(LAYERS)
    assert [network_for(arch, "paper").name for arch in LAYERS] == list(LAYERS)
    stood_for = {arch: network_for(arch, "modern").name for arch in LAYERS}
    assert stood_for == {arch: f"modern_{arch}" if f"modern_{arch}" in MODERN_LAYERS else arch for arch in LAYERS}
    assert [name for name in NETWORKS if NETWORKS[name].descrambles] == ["descrambler", "modern_descrambler"]
    with pytest.raises(PrivpipeError, match=r"^a network must be one of adaptation, baseline, .*; got 'resnet'\.$"):
        network_for("resnet", "paper")


class Mixed(nn.Module):
    def __init__(self, features: int, classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features, classes))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class Wide(Network):
    """A network of another package, with layers that `build` does not draw itself."""

    name = "wide"

    def layers(self, sizes: Architecture) -> OrderedDict[str, nn.Module]:
        features = sizes.channels * sizes.image_size**2
        return OrderedDict(flatten=nn.Flatten(), mixed=Mixed(features, sizes.classes))


@pytest.mark.parametrize(
    ("stands_for", "message"),
    [
        (
            "resnet",
            r"^the network wide stands for resnet; use one of adaptation, baseline, descrambler, three_layer, vit\.$",
        ),
        ("baseline", r"^the networks modern_baseline and wide both stand for baseline\. Remove one\.$"),
    ],
)
def test_a_network_stands_for_one_that_there_is_alone(
    stands_for: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wide, "stands_for", stands_for)
    monkeypatch.setitem(NETWORKS._found, "wide", Wide)
    with pytest.raises(PrivpipeError, match=message):
        architectures()


def test_a_network_that_nothing_stands_for_is_trained_with_either_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS._found, "wide", Wide)
    assert "wide" in architectures()
    assert network_for("wide", "modern") is network_for("wide", "paper") is Wide


def test_layers_of_every_kind_follow_from_the_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS._found, "wide", Wide)
    drawn = []
    for seed in (0, 0, 1):
        torch.rand(3)  # of the global generator, which must neither matter nor be moved
        before = torch.get_rng_state()
        drawn.append(build(Architecture("wide", 4, 1, 2), generator(seed)).state_dict()["mixed.weight"])
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("arch", NETWORKS)
def test_layers_follow_each_other_as_described(arch: str) -> None:
    layers = [layer for layer in build(Architecture(arch, 16, 3, 10, 4)).modules() if not list(layer.children())]
    assert [type(layer).__name__ for layer in layers] == (LAYERS | MODERN_LAYERS)[arch]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            assert (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
        if isinstance(layer, nn.MaxPool2d):
            assert (layer.kernel_size, layer.stride) == (2, 2)


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        # Convolutions 3·3·in·out + out, the last layer in·out + out, the BFC layer blocks·(k·k)².
        (Architecture("baseline", 32, 3, 10), 896 + 9248 + 18496 + 36928 + 64 * 8 * 8 * 10 + 10),
        (Architecture("three_layer", 32, 3, 10), 896 + 9248 + 32 * 16 * 16 * 10 + 10),
        (Architecture("descrambler", 32, 3, 10, 4), 896 + 9248 + 18496 + 36928 + 64 * 8 * 8 * 10 + 10 + 64 * 16**2),
        (Architecture("descrambler", 8, 1, 2, 8), 320 + 9248 + 18496 + 36928 + 64 * 2 * 2 * 2 + 2 + 1 * 64**2),
        # Two layers of values·(values + 1) for each block of 4·4·3 values.
        (Architecture("adaptation", 32, 3, 10, 4), 896 + 9248 + 18496 + 36928 + 40970 + 2 * 64 * 48 * 49),
        # A patch of 48 values to 128 and 64 places; four times 2 norms, 3 + 1 products and 2 · 2·128·128; norm and FC.
        (Architecture("vit", 32, 3, 10, 4), VIT_PARAMETERS + 48 * 128 + 128 + 64 * 128),
        (Architecture("vit", 16, 1, 10, 8), VIT_PARAMETERS + 64 * 128 + 128 + 4 * 128),
        # A normalisation layer has 2·out; convolutions of the residual network have no bias.
        (Architecture("modern_three_layer", 32, 3, 10), 896 + 9248 + 2 * 2 * 32 + 32 * 16 * 16 * 10 + 10),
        (Architecture("modern_three_layer", 10, 1, 2), 320 + 9248 + 2 * 2 * 32 + 32 * 5 * 5 * 2 + 2),
        (Architecture("modern_baseline", 32, 3, 10), 9 * 3 * 64 + RESNET_PARAMETERS + 512 * 10 + 10),
        (Architecture("modern_baseline", 32, 3, 10), 6_573_130),  # as the network is known
        (Architecture("modern_baseline", 8, 1, 2), 9 * 64 + RESNET_PARAMETERS + 512 * 2 + 2),
        (Architecture("modern_descrambler", 32, 3, 10, 4), 6_573_130 + 64 * 16**2),
    ],
)
def test_numbers_of_parameters(architecture: Architecture, parameters: int) -> None:
    assert sum(p.numel() for p in build(architecture).parameters()) == parameters


@pytest.mark.parametrize("arch", LAYERS)
@pytest.mark.parametrize(("size", "channels", "classes"), [(8, 3, 10), (12, 1, 2), (20, 4, 1)])
def test_one_score_for_each_class(arch: str, size: int, channels: int, classes: int) -> None:
    model = build(Architecture(arch, size, channels, classes, 2), generator(0))
    scores = model(torch.rand(5, channels, size, size, generator=generator(1)))
    assert scores.shape == (5, classes)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


@pytest.mark.parametrize("arch", MODERN_LAYERS)
@pytest.mark.parametrize(("size", "channels", "classes"), [(8, 3, 10), (16, 1, 2), (24, 4, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_modern_networks_too(arch: str, size: int, channels: int, classes: int, training: bool) -> None:
    model = build(Architecture(arch, size, channels, classes, 4), generator(0)).train(training)
    scores = model(torch.rand(2, channels, size, size, generator=generator(1)))
    assert scores.shape == (2, classes)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


def moved_statistics(model: nn.Sequential) -> nn.Sequential:
    """Normalisation layers as after training: with other values than those that they begin with."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            for values, low, high in (
                *((layer.weight, 0.5, 1.5), (layer.bias, -0.5, 0.5)),
                *((layer.running_mean, -0.5, 0.5), (layer.running_var, 0.5, 2)),
            ):
                nn.init.uniform_(values, low, high, generator=generator(2))
    return model


def test_the_residual_network_step_by_step() -> None:
    """In prediction, with each sum written out from the state dict."""
    model = moved_statistics(build(Architecture("modern_baseline", 16, 3, 10), generator(0))).double().eval()
    state = model.state_dict()

    def conv(x: Tensor, convolution: str, norm: str) -> Tensor:
        x = F.conv2d(x, state[f"{convolution}.weight"], padding=1)
        scale, shift, mean, var = (
            state[f"{norm}.{name}"][:, None, None] for name in ("weight", "bias", "running_mean", "running_var")
        )
        return (scale * (x - mean) / (var + 1e-5).sqrt() + shift).clamp(min=0)

    def halved(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).amax((3, 5))

    def residual(x: Tensor, name: str) -> Tensor:
        return x + conv(conv(x, f"{name}.body.0", f"{name}.body.1"), f"{name}.body.3", f"{name}.body.4")

    images = torch.rand(2, 3, 16, 16, generator=generator(1)).double()
    x = conv(images, "prep.0", "prep.1")
    x = residual(halved(conv(x, "stage1.0", "stage1.1")), "residual1")
    x = halved(conv(x, "stage2.0", "stage2.1"))
    x = residual(halved(conv(x, "stage3.0", "stage3.1")), "residual3")
    expected = x.amax((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("arch", NETWORKS)
def test_weights_are_float32_and_in_the_layout_of_the_images(arch: str) -> None:
    model = build(Architecture(arch, 8, 3, 10, 4), generator(0))
    state = model.state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert not any("num_batches" in name for name in state)
    filters = [tensor for tensor in state.values() if tensor.ndim == 4]
    assert len(filters) == (LAYERS | MODERN_LAYERS)[arch].count("Conv2d")
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in filters)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert sum("running_var" in name for name in state) == len(norms)


def test_a_state_that_a_model_file_cannot_hold_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ordered(Wide):
        def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
            layers = super().layers(sizes)
            layers["mixed"].register_buffer("order", torch.arange(3))
            return layers

    monkeypatch.setitem(NETWORKS._found, "wide", Ordered)
    with pytest.raises(PrivpipeError, match=r"float32 alone, and mixed\.order of wide is torch\.int64\. Register"):
        build(Architecture("wide", 4, 1, 2), generator(0))


def test_three_layer_takes_even_sizes_that_baseline_cannot() -> None:
    assert build(Architecture("three_layer", 10, 3, 4), generator(0))(torch.zeros(1, 3, 10, 10)).shape == (1, 4)


@pytest.mark.parametrize(("size", "k"), [(4, 1), (4, 2), (6, 3), (8, 4), (8, 8)])
def test_bfc_is_one_matrix_product_per_block_and_colour(size: int, k: int) -> None:
    layer = bfc(size, k)
    weight = layer.weight.detach().numpy()
    images = np.random.default_rng(0).normal(size=(3, 2, size, size)).astype(np.float32)
    expected = np.empty_like(images)
    for n in range(3):
        for c in range(2):
            for block in range((size // k) ** 2):
                top, left = block // (size // k) * k, block % (size // k) * k
                pixels = images[n, c, top : top + k, left : left + k].reshape(-1)
                expected[n, c, top : top + k, left : left + k] = (weight[block] @ pixels).reshape(k, k)
    with torch.no_grad():
        np.testing.assert_allclose(layer(torch.from_numpy(images)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_bfc_does_not_depend_on_the_memory_layout() -> None:
    layer, images = bfc(8, 4), torch.rand(3, 3, 8, 8, generator=generator(1))
    with torch.no_grad():
        result = layer(images.to(memory_format=torch.channels_last))
        assert torch.equal(result, layer(images))
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_bfc_with_the_inverse_permutations_undoes_a_scramble(k: int) -> None:
    scramble = BlockScramble(8, k, "dataset", stream=KeyStream(bytes(32)))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    perturbed = torch.from_numpy(scramble.apply(images)).permute(0, 3, 1, 2).float()
    layer = BlockFullyConnected(8, k)
    with torch.no_grad():
        layer.weight.zero_()
        for block, permutation in enumerate(scramble.permutations):
            for came_to, came_from in enumerate(permutation):
                layer.weight[block, came_from, came_to] = 1  # pixel `came_to` goes back where it came from
        restored = layer(perturbed).permute(0, 2, 3, 1).numpy()
    assert not np.array_equal(perturbed.permute(0, 2, 3, 1).numpy(), images)
    assert np.array_equal(restored, images)


def test_bfc_gradients() -> None:
    layer = BlockFullyConnected(4, 2).double()
    nn.init.normal_(layer.weight, generator=generator(0))
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=generator(1), requires_grad=True)
    assert torch.autograd.gradcheck(layer, images)


def test_initial_weights_have_the_variances_described() -> None:
    model = build(Architecture("descrambler", 32, 3, 10, 8), generator(0))
    fan_in = {"conv1": 27, "conv2": 288, "conv3": 288, "conv4": 576, "fc": 4096}
    expected = {name: (1 if name == "fc" else 2) / n for name, n in fan_in.items()} | {"bfc": 1 / 64}
    for name, variance in expected.items():
        weight = model.get_submodule(name).get_parameter("weight").detach()
        spread = variance * (2 / weight.numel()) ** 0.5  # standard deviation of an estimated variance
        assert weight.var().item() == pytest.approx(variance, abs=5 * spread)
        assert weight.mean().item() == pytest.approx(0, abs=5 * (variance / weight.numel()) ** 0.5)
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 5
    assert all(not bias.any() for bias in biases)


def test_initial_weights_of_the_residual_network() -> None:
    model = build(Architecture("modern_descrambler", 16, 3, 10, 4), generator(0))
    fan_in = {"prep.0": 27, "stage1.0": 576, "stage2.0": 1152, "stage3.0": 2304, "fc": 512}
    fan_in |= {f"residual{i}.body.{j}": n for i, n in ((1, 1152), (3, 4608)) for j in (0, 3)}
    expected = {name: (1 if name == "fc" else 2) / n for name, n in fan_in.items()} | {"bfc": 1 / 16}
    drawn = {name.removesuffix(".weight"): p.detach() for name, p in model.named_parameters() if p.ndim > 1}
    assert set(drawn) == set(expected)
    for name, weight in drawn.items():
        spread = expected[name] * (2 / weight.numel()) ** 0.5
        assert weight.var().item() == pytest.approx(expected[name], abs=5 * spread)
        assert weight.mean().item() == pytest.approx(0, abs=5 * (expected[name] / weight.numel()) ** 0.5)
    for name, tensor in model.state_dict().items():  # normalisation that changes nothing, and no biases
        if tensor.ndim == 1:
            assert (tensor == (0 if name.endswith(("bias", "mean")) else 1)).all(), name


def test_the_bfc_layer_keeps_the_variance_of_its_input() -> None:
    layer = build(Architecture("descrambler", 16, 3, 10, 8), generator(0))[0]
    with torch.no_grad():
        images = torch.randn(200, 3, 16, 16, generator=generator(1))
        assert layer(images).var().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("arch", NETWORKS)
def test_the_generator_alone_decides_the_weights(arch: str) -> None:
    architecture = Architecture(arch, 8, 3, 10, 4)
    states = []
    for global_seed, seed in ((1, 7), (2, 7), (1, 8)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed)
            states.append(build(architecture, generator(seed)).state_dict())
    first, again, other = states
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        assert torch.equal(tensor, other[name]) == (tensor.ndim == 1), name  # biases and normalisation are not drawn


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (
            Architecture("resnet", 32, 3, 10),
            "^a network must be one of adaptation, baseline, descrambler, modern_baseline, modern_descrambler, "
            "modern_three_layer, three_layer, vit; got 'resnet'",
        ),
        (
            Architecture("modern_modern_baseline", 32, 3, 10),
            "a network must be one of .*; got 'modern_modern_baseline'",
        ),
        (Architecture("modern_", 32, 3, 10), "a network must be one of .*; got 'modern_'"),
        (Architecture("baseline", 30, 3, 10), "halves the image 2 times, .* must be a multiple of 4; got 30"),
        (Architecture("three_layer", 31, 3, 10), "halves the image 1 times, .* must be a multiple of 2; got 31"),
        (
            Architecture("modern_baseline", 12, 3, 10),
            "^modern_baseline halves the image 3 times, so its side must be a multiple of 8; got 12",
        ),
        (Architecture("modern_descrambler", 20, 3, 10, 4), "halves the image 3 times, .* a multiple of 8; got 20"),
        (Architecture("modern_three_layer", 9, 3, 10), "halves the image 1 times, .* a multiple of 2; got 9"),
        (Architecture("modern_descrambler", 16, 3, 10, 5), "block size must divide the image size 16; got 5"),
        (Architecture("modern_baseline", 0, 3, 10), "the image_size of a network must be .* at least 1; got 0"),
        (Architecture("modern_descrambler", 8, 3, 10, 0), "the k of a network must be .* at least 1; got 0"),
        (Architecture("descrambler", 32, 3, 10, 5), "block size must divide the image size 32; got 5"),
        (Architecture("adaptation", 32, 3, 10, 5), "the adaptation network's block size must divide .* 32; got 5"),
        (Architecture("vit", 32, 3, 10, 1), "2 to 16 patches along a side .*; got patches of 1. Use 2 or 4 or 8 or 16"),
        (Architecture("vit", 31, 3, 10, 31), "2 to 16 patches .*; got patches of 31. Use another image size"),
        (Architecture("baseline", 0, 3, 10), "the image_size of a network must be .* at least 1; got 0"),
        (Architecture("baseline", -8, 3, 10), "the image_size of a network must be .* at least 1; got -8"),
        (Architecture("baseline", 8, 0, 10), "the channels of a network must be .* at least 1; got 0"),
        (Architecture("baseline", 8, 3, True), "the classes of a network must be a whole number .*; got True"),
        (Architecture("baseline", 8, 3, "10"), "the classes of a network must be a whole number .*; got '10'"),
        (Architecture("baseline", 8.0, 3, 10), "the image_size of a network must be a whole number .*; got 8.0"),
        (Architecture("descrambler", 8, 3, 10, 0), "the k of a network must be .* at least 1; got 0"),
        (Architecture("descrambler", 8, 3, 10, -4), "the k of a network must be .* at least 1; got -4"),
    ],
)
def test_what_cannot_be_built_says_why(architecture: Architecture, message: str) -> None:
    with pytest.raises(PrivpipeError, match=message):
        build(architecture)
