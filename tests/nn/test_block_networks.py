"""Networks of blocks: an adaptation network, and a transformer whose patches are the blocks."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privpipe.layers import BlockLinear
from privpipe.networks.base import Architecture
from privpipe.networks.registry import NETWORKS
from privpipe.nn.models import build
from privpipe.perturb import Perturbation
from privpipe.perturb.block_scramble import BlockScramble
from privpipe.perturb.gaussian_noise import GaussianNoise
from privpipe.perturb.neuracrypt import Neuracrypt


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("size", "k", "channels"), [(4, 1, 3), (6, 3, 2), (8, 4, 1)])
def test_a_block_linear_layer_is_one_matrix_for_each_block(size: int, k: int, channels: int) -> None:
    layer, drawn = BlockLinear(size, k, channels), np.random.default_rng(0)
    values = channels * k * k
    nn.init.normal_(layer.bias, generator=generator(0))
    weight = layer.weight.detach().numpy()
    bias = layer.bias.detach().numpy().reshape(-1, values)
    images = drawn.normal(size=(3, channels, size, size)).astype(np.float32)
    expected = np.empty_like(images)
    for n in range(3):
        for block in range((size // k) ** 2):
            top, left = block // (size // k) * k, block % (size // k) * k
            place = (n, slice(None), slice(top, top + k), slice(left, left + k))
            expected[place] = (weight[block] @ images[place].ravel() + bias[block]).reshape(channels, k, k)
    with torch.no_grad():
        result = layer(torch.from_numpy(images))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert k == 1 or result.is_contiguous(memory_format=torch.channels_last)
    assert weight.std() == pytest.approx((2 / values) ** 0.5, rel=0.2)


def test_an_adaptation_network_can_undo_a_scramble_of_values() -> None:
    """Its first layer holds the inverse; the rest sees the images themselves."""
    permutation = np.random.default_rng(0).permutation(48)
    model = build(Architecture("adaptation", 8, 3, 4, 4), generator(0))
    first = model.get_submodule("adapt1")
    images = torch.rand(2, 3, 8, 8, generator=generator(1))
    blocks = images.reshape(2, 3, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(2, 4, 48)
    scrambled = blocks[..., permutation].reshape(2, 2, 2, 3, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 8, 8)
    with torch.no_grad():
        first.get_parameter("weight").zero_()
        first.get_parameter("weight")[:, permutation, torch.arange(48)] = 1
        assert torch.equal(first(scrambled), images) and not torch.equal(scrambled, images)


def test_the_transformer_step_by_step() -> None:
    """With torch's own attention and convolution of the size of a patch, weights taken from the state dict."""
    model = build(Architecture("vit", 8, 3, 5, 4), generator(0)).double()
    state = model.state_dict()
    images = torch.rand(3, 3, 8, 8, generator=generator(1)).double()
    filters = state["patches.embed.weight"].reshape(128, 3, 4, 4)
    patches = F.conv2d(images, filters, state["patches.embed.bias"], stride=4)
    x = patches.flatten(2).transpose(1, 2) + state["patches.places"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    for i in range(1, 5):
        theirs = nn.MultiheadAttention(128, 4, batch_first=True, dtype=torch.float64).eval()
        names = {"in_proj_weight": "parts.weight", "out_proj.weight": "out.weight", "out_proj.bias": "out.bias"}
        own = {name: state[f"attention{i}.body.1.{ours}"] for name, ours in names.items()}
        theirs.load_state_dict({**own, "in_proj_bias": torch.zeros(3 * 128)})
        seen = norm(x, f"attention{i}.body.0")
        x = x + theirs(seen, seen, seen)[0]
        hidden = norm(x, f"mlp{i}.body.0") @ state[f"mlp{i}.body.1.weight"].T + state[f"mlp{i}.body.1.bias"]
        x = x + hidden.clamp(min=0) @ state[f"mlp{i}.body.3.weight"].T + state[f"mlp{i}.body.3.bias"]
    expected = norm(x, "norm").mean(1) @ state["fc.weight"].T + state["fc.bias"]
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize(("size", "k", "patch"), [(32, 3, 4), (32, 1, 4), (224, 1, 28), (40, 1, 5), (32, 8, 8)])
def test_patches_are_the_blocks_where_there_are_some(size: int, k: int, patch: int) -> None:
    assert NETWORKS["vit"]().block_size(size, k) == patch
    others = [NETWORKS[arch]().block_size(size, k) for arch in ("baseline", "descrambler", "adaptation")]
    assert others == [1, k, k]


@pytest.mark.parametrize("arch", NETWORKS)
def test_blocks_larger_than_the_image_are_refused_by_the_method_alone(arch: str) -> None:
    problems = NETWORKS[arch]().experiment_problems(Neuracrypt(32, 64, "image"), "learned")
    assert not any("data.image_size=32" in problem for problem in problems)


@pytest.mark.parametrize(
    ("arch", "method", "message"),
    [
        (
            "vit",
            BlockScramble(32, 1),
            r"perturb\.k must be one of 2, 4, 8, 16 for data\.image_size=32; got 1\. Set one",
        ),
        ("vit", BlockScramble(32, 32), r"perturb\.k must be one of 2, 4, 8, 16 .*; got 32"),
        ("vit", GaussianNoise(31), r"no size of patches fits data\.image_size=31\. Use a multiple of 8"),
        ("adaptation", GaussianNoise(32), r"model\.arch=adaptation needs a method that works on blocks \(.*block_mix"),
        ("adaptation", BlockScramble(30, 3), r"halves the image 2 times"),
    ],
)
def test_networks_of_blocks_say_what_they_demand(arch: str, method: Perturbation, message: str) -> None:
    (problem,) = NETWORKS[arch]().experiment_problems(method, "learned")
    assert re.search(message, problem), problem
    for legal in (BlockScramble(32, 4), *([GaussianNoise(32)] if arch == "vit" else [])):
        assert NETWORKS[arch]().experiment_problems(legal, "learned") == []
