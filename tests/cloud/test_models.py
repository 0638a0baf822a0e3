"""The networks against their description, and the BFC layer against a loop over blocks."""

import numpy as np
import pytest
import torch
from torch import nn

from privpipe.cloud.models import Architecture, BlockFullyConnected, build
from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.block_scramble import BlockScramble

BASELINE = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten", "Linear"]
LAYERS = {
    "baseline": BASELINE,
    "three_layer": [*BASELINE[:5], "Flatten", "Linear"],
    "descrambler": ["BlockFullyConnected", *BASELINE],
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bfc(image_size: int, k: int, seed: int = 0) -> BlockFullyConnected:
    layer = BlockFullyConnected(image_size, k)
    nn.init.normal_(layer.weight, generator=generator(seed))
    return layer


@pytest.mark.parametrize("arch", LAYERS)
def test_layers_follow_each_other_as_described(arch: str) -> None:
    model = build(Architecture(arch, 16, 3, 10, 4))
    assert [type(layer).__name__ for layer in model] == LAYERS[arch]
    for layer in model:
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


def test_the_bfc_layer_keeps_the_variance_of_its_input() -> None:
    layer = build(Architecture("descrambler", 16, 3, 10, 8), generator(0))[0]
    with torch.no_grad():
        images = torch.randn(200, 3, 16, 16, generator=generator(1))
        assert layer(images).var().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("arch", LAYERS)
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
        assert name.endswith("bias") or not torch.equal(tensor, other[name])


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (
            Architecture("resnet", 32, 3, 10),
            "model.arch must be one of baseline, three_layer, descrambler; got 'resnet'",
        ),
        (Architecture("baseline", 30, 3, 10), "halves the image 2 times, .* must be a multiple of 4; got 30"),
        (Architecture("three_layer", 31, 3, 10), "halves the image 1 times, .* must be a multiple of 2; got 31"),
        (Architecture("descrambler", 32, 3, 10, 5), "block size must divide the image size 32; got 5"),
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
