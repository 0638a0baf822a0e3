"""DP-SGD: gradients of single examples against autograd, what one example moves, noise, sampling, and learning."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from privpipe.networks.base import Architecture
from privpipe.nn.models import build
from privpipe.statistics.dp_sgd import Plan, clipped_sum, train

IMAGES = torch.randn(70, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(70) % 4
NETWORK = build(Architecture("three_layer", 8, 3, 4), torch.Generator().manual_seed(1))


def norm_of(sums: dict[str, torch.Tensor]) -> float:
    return float(torch.cat([value.flatten() for value in sums.values()]).norm())


@pytest.mark.parametrize("clip", [0.5, 1e9])
def test_the_sum_is_that_of_the_gradients_of_one_example_after_another(clip: float) -> None:
    found = clipped_sum(NETWORK, IMAGES, LABELS, torch.arange(70), clip)
    expected = {name: torch.zeros_like(value) for name, value in NETWORK.named_parameters()}
    for image, label in zip(IMAGES, LABELS, strict=True):
        gradients = torch.autograd.grad(F.cross_entropy(NETWORK(image[None]), label[None]), NETWORK.parameters())
        length = float(torch.cat([value.flatten() for value in gradients]).norm())
        for name, value in zip(expected, gradients, strict=True):
            expected[name] += value * min(1, clip / length)
    for name, value in expected.items():
        assert found[name].numpy() == pytest.approx(value.numpy(), rel=1e-3, abs=1e-5 * float(value.abs().max()))


def test_one_example_moves_the_sum_by_no_more_than_the_clip() -> None:
    clip = 0.3
    for row in range(10):
        alone = norm_of(clipped_sum(NETWORK, 100 * IMAGES, LABELS, torch.tensor([row]), clip))
        assert alone <= clip * (1 + 1e-5)
    assert norm_of(clipped_sum(NETWORK, IMAGES, LABELS, torch.arange(0), clip)) == 0


def linear() -> nn.Linear:
    layer = nn.Linear(6, 4)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def test_a_step_adds_noise_of_the_stated_strength() -> None:
    plan = Plan(rate=1.0, steps=1, noise=50.0, clip=0.2, lr=1.0)
    quiet, values = linear(), []
    inputs, labels = torch.zeros(70, 6), LABELS
    train(quiet, inputs, labels, Plan(1.0, 1, 0.0, 0.2, 1.0), torch.Generator().manual_seed(0))
    for seed in range(200):
        layer = linear()
        train(layer, inputs, labels, plan, torch.Generator().manual_seed(seed))
        values.append((layer.weight - quiet.weight).detach().numpy())
    assert np.std(values) == pytest.approx(50 * 0.2 / 70, rel=0.05)


def test_every_example_is_drawn_by_itself_at_the_rate() -> None:
    # One input for each example: where the gradient of an input's weights is 0, its example was not in the step.
    inputs, labels, counts = torch.eye(400), torch.zeros(400, dtype=torch.int64), []
    for seed in range(50):
        layer = nn.Linear(400, 2, bias=False)
        nn.init.zeros_(layer.weight)
        train(layer, inputs, labels, Plan(0.1, 1, 0.0, 1.0, 1.0), torch.Generator().manual_seed(seed))
        counts.append(int((layer.weight[0] != 0).sum()))
    assert np.mean(counts) == pytest.approx(40, abs=4 * (36 / 50) ** 0.5)
    assert np.var(counts) == pytest.approx(36, rel=0.7)  # binomial: the size of a sample is not fixed


def test_it_learns_through_moderate_noise() -> None:
    rng = torch.Generator().manual_seed(3)
    centres = torch.randn(4, 6, generator=rng)
    inputs = centres[torch.arange(800) % 4] + 0.3 * torch.randn(800, 6, generator=rng)
    layer = linear()
    train(layer, inputs, torch.arange(800) % 4, Plan(0.2, 40, 2.0, 1.0, 2.0, 0.5), rng)
    assert (layer(inputs).argmax(1) == torch.arange(800) % 4).float().mean() > 0.9
