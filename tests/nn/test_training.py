"""The training loop against one written by hand, and all that its results must not depend on."""

import copy
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privpipe.errors import PrivpipeError
from privpipe.networks.base import Architecture
from privpipe.nn.data import Resident
from privpipe.nn.device import deterministic
from privpipe.nn.engine import Recipe, learning_rates
from privpipe.nn.inference import Normalisation, evaluate, measure
from privpipe.nn.models import build
from privpipe.nn.training import Diverged, Epoch, train

CPU = torch.device("cpu")
Set = Resident


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy(count: int, seed: int, size: int = 8) -> Set:
    """Two classes: one is brighter at the top, the other at the bottom, under noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.integers(0, 120, (count, size, size, 3))
    for image, label in zip(images, labels, strict=True):
        image[: size // 2] += 60 * (1 - label)
        image[size // 2 :] += 60 * label
    return Resident(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels))


def network(arch: str = "three_layer", seed: int = 0) -> nn.Sequential:
    return build(Architecture(arch, 8, 3, 2, 4), generator(seed))


def fitted(recipe: Recipe, arch: str = "three_layer", count: int = 40) -> tuple[nn.Sequential, list[Epoch]]:
    """A network and its history after training on toy images with one thread."""
    data, model = toy(count, 1), network(arch, recipe.seed)
    with deterministic(1):
        history = train(model, measure(data.images), data, toy(20, 2), recipe, progress=False)
    return model, history


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}


def adam_by_hand(
    model: nn.Sequential, normalise: Normalisation, batches: list[Set], rates: list[float], reg: float, l1: bool
) -> dict[str, Tensor]:
    """Weights after one step of Adam (Kingma and Ba 2015, algorithm 1) per batch, on loss and penalties written out."""
    first = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    second = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for step, ((images, labels), lr) in enumerate(zip(batches, rates, strict=True), 1):
        scores = model(normalise(images))
        loss = -scores.log_softmax(1)[torch.arange(len(labels)), labels].mean()
        for name, p in model.named_parameters():
            if name == "bfc.weight" and l1:
                loss = loss + reg * p.abs().sum()
            elif name.endswith("weight"):
                loss = loss + reg / 2 * p.square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for (name, p), g in zip(model.named_parameters(), gradients, strict=True):
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g * g
                mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
                p -= lr * mean / (square.sqrt() + 1e-8)
    return weights(model)


def in_float64(arch: str, recipe: Recipe) -> tuple[nn.Sequential, nn.Sequential, Normalisation, list[Set]]:
    """A network trained on 20 images for two epochs, itself before that, its normalisation and its batches.

    In float64, where differently grouped sums still agree: Adam divides small gradients by their own size.
    """
    data = toy(20, 1)
    images, labels = data.images, data.labels
    model = network(arch).double()
    before = copy.deepcopy(model)
    normalise = Normalisation(torch.full((3,), 90.0).double(), torch.full((3,), 40.0).double())
    order = generator(recipe.seed)
    batches = [(images[rows], labels[rows]) for _ in range(2) for rows in torch.randperm(20, generator=order).split(8)]
    assert [len(batch[1]) for batch in batches] == [8, 8, 4, 8, 8, 4]
    train(model, normalise, data, toy(4, 2), recipe, progress=False)
    return model, before, normalise, batches


@pytest.mark.parametrize(
    ("arch", "penalty", "decay"),
    [
        *[("baseline", "l1", 1.0), ("three_layer", "l2", 1.0), ("descrambler", "l1", 1.0), ("descrambler", "l2", 1.0)],
        *[("three_layer", "l1", 0.5), ("descrambler", "l1", 0.5)],
    ],
)
def test_the_loop_is_adam_on_the_loss_and_its_penalties(arch: str, penalty: str, decay: float) -> None:
    """The second epoch has a rate of its own, and the moments of the first go on."""
    recipe = Recipe(epochs=2, batch_size=8, lr=0.001, reg=0.01, seed=3, penalty=penalty, lr_decay=decay)
    model, reference, normalise, batches = in_float64(arch, recipe)
    rates = [0.001] * 3 + [0.001 * decay] * 3
    expected = adam_by_hand(reference, normalise, batches, rates, recipe.reg, penalty == "l1")
    for name, weight in weights(model).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-8, msg=lambda m, name=name: f"{name}: {m}")


def modern_by_hand(
    model: nn.Sequential, normalise: Normalisation, batches: list[Set], rates: list[float], reg: float, l1: bool
) -> dict[str, Tensor]:
    """State after one step of SGD per batch on smoothed labels, with momentum after Sutskever et al. (2013).

    Nesterov's form that takes the gradient where the weights are: v = 0.9 v + g, then w -= lr (g + 0.9 v).
    """
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for (images, labels), lr in zip(batches, rates, strict=True):
        targets = torch.full((len(labels), 2), 0.1 / 2, dtype=torch.float64)
        targets[torch.arange(len(labels)), labels] += 0.9
        loss = -(targets * model(normalise(images)).log_softmax(1)).sum(1).mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for (name, p), g in zip(model.named_parameters(), gradients, strict=True):
                if name == "bfc.weight" and l1:
                    g = g + reg * p.sign()
                elif name.endswith("weight") and not name.startswith("norm"):
                    g = g + reg * p
                velocity[name] = 0.9 * velocity[name] + g
                p -= lr * (g + 0.9 * velocity[name])
    return model.state_dict()


@pytest.mark.parametrize(
    ("arch", "penalty"),
    [("modern_three_layer", "l1"), ("baseline", "l2"), ("descrambler", "l1"), ("descrambler", "l2")],
)
def test_the_modern_loop_is_sgd_on_smoothed_labels(arch: str, penalty: str) -> None:
    """The statistics of normalisation layers agree too: they are in the state."""
    recipe = Recipe(epochs=2, batch_size=8, lr=0.05, reg=0.01, seed=3, penalty=penalty, style="modern", lr_decay=0.5)
    model, reference, normalise, batches = in_float64(arch, recipe)
    rates = [0.05 * share for share in (1, 1, 0.8, 0.6, 0.4, 0.2)]  # a fifth of 6 steps is 1
    expected = modern_by_hand(reference, normalise, batches, rates, recipe.reg, penalty == "l1")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (3, 4), (5, 1)])
@pytest.mark.parametrize("decay", [1.0, 0.8, 0.5])
def test_the_rate_of_the_paper_falls_after_each_epoch(epochs: int, steps: int, decay: float) -> None:
    found = list(learning_rates(Recipe(epochs, 8, 0.01, 0.0, 0, lr_decay=decay), steps))
    np.testing.assert_allclose(found, np.repeat(0.01 * np.power(decay, np.arange(epochs)), steps), rtol=1e-12)
    assert set(found[:steps]) == {0.01}
    assert decay != 1.0 or set(found) == {0.01}


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (1, 7), (2, 5), (3, 13), (10, 98)])
def test_the_modern_rate_rises_and_falls_in_straight_lines(epochs: int, steps: int) -> None:
    total = epochs * steps
    found = list(learning_rates(Recipe(epochs, 8, 0.4, 0.0, 0, style="modern", lr_decay=0.5), steps))
    warm = max(1, round(total / 5))
    # From 0 before the first step to 0 after the last; the peak is held for two steps.
    lines = np.interp(np.arange(total), [-1, warm - 1, warm, total], [0, 1, 1, 0])
    np.testing.assert_allclose(found, 0.4 * lines, rtol=1e-12)
    assert len(found) == total
    assert max(found) == found[warm - 1] == 0.4
    assert found[0] == pytest.approx(0.4 / warm)
    assert found[-1] == pytest.approx(0.4 / max(1, total - warm))


def blank(count: int) -> Set:
    """Images whose normalised values are all 0: every gradient but those of biases is a penalty's."""
    return Resident(torch.full((count, 8, 8, 3), 9, dtype=torch.uint8), torch.arange(count) % 2)


def after_a_step_on_blank_images(reg: float, penalty: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Every parameter before and after one step with a learning rate of 0.001."""
    data, model = blank(8), network("descrambler")
    before = {name: p.clone() for name, p in weights(model).items()}
    train(model, measure(data.images), data, data, Recipe(1, 8, 0.001, reg, 0, penalty), progress=False)
    return {name: (before[name], p) for name, p in weights(model).items()}


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_penalties_shrink_every_weight_and_no_bias(penalty: str) -> None:
    """Adam's first step is the learning rate against the gradient's sign, whatever its size."""
    for name, (before, after) in after_a_step_on_blank_images(10.0, penalty).items():
        if name.endswith("weight"):
            torch.testing.assert_close(after, before - 0.001 * before.sign(), rtol=0, atol=1e-6)
        else:
            assert torch.equal(after, before), name


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_weights_that_ask_for_no_gradient_stay(penalty: str) -> None:
    model = network("descrambler")
    fixed = model.get_submodule("bfc").get_parameter("weight").requires_grad_(False)
    before = weights(model)["bfc.weight"].clone()
    data = toy(16, 1)
    train(model, measure(data.images), data, data, Recipe(2, 8, 0.001, 0.01, 0, penalty), progress=False)
    assert torch.equal(fixed, before)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_without_reg_nothing_shrinks(penalty: str) -> None:
    for name, (before, after) in after_a_step_on_blank_images(0.0, penalty).items():
        assert torch.equal(after, before), name


def test_l1_pushes_small_and_large_weights_alike_and_l2_does_not() -> None:
    """After several steps with no other gradient, l1 has moved every weight by the same amount."""
    moved = {}
    for penalty in ("l1", "l2"):
        data, model = blank(8), network("descrambler")
        before = model[0].weight.detach().clone()
        train(model, measure(data.images), data, data, Recipe(20, 8, 0.001, 10.0, 0, penalty), progress=False)
        large = before.abs() > 0.1  # none of these crosses zero
        moved[penalty] = (before - model[0].weight.detach()).abs()[large]
    assert moved["l1"].std() < 1e-6
    assert moved["l1"].mean().item() == pytest.approx(20 * 0.001, rel=1e-4)
    assert moved["l2"].std() > 1e-5


@pytest.mark.parametrize("arch", ["baseline", "three_layer", "descrambler"])
def test_it_learns_what_can_be_learned(arch: str) -> None:
    _, history = fitted(Recipe(epochs=6, batch_size=8, lr=0.001, reg=0.0001, seed=0), arch, count=100)
    assert history[-1].val_accuracy > 0.9
    assert history[-1].train_loss < history[0].train_loss / 2
    assert [epoch.epoch for epoch in history] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("arch", "epochs", "lr"), [("modern_three_layer", 6, 0.02), ("modern_baseline", 3, 0.02)])
def test_the_modern_recipe_learns_too(arch: str, epochs: int, lr: float) -> None:
    _, history = fitted(Recipe(epochs, 20, lr, 0.0005, 0, style="modern"), arch, count=100)
    assert history[-1].val_accuracy > 0.9
    assert history[-1].train_loss < history[0].train_loss


def test_one_last_image_is_normalised_as_in_prediction() -> None:
    """It leaves the statistics of the batch before it as they are."""
    data, model = toy(9, 1), network("modern_three_layer")
    normalise, rows = measure(data.images), torch.randperm(9, generator=generator(4))[:8]
    seen = copy.deepcopy(model)
    seen(normalise(data.images[rows]))
    before = weights(model)["fc.bias"].clone()
    train(model, normalise, data, data, Recipe(1, 8, 0.01, 0.0, 4, style="modern"), progress=False)
    for name in ("norm1.running_mean", "norm1.running_var"):
        torch.testing.assert_close(model.state_dict()[name], seen.state_dict()[name])
    assert not torch.equal(weights(model)["fc.bias"], before)


@pytest.mark.parametrize(("count", "batch_size"), [(5, 4), (1, 4), (2, 1)])
def test_batches_of_one_image_train_the_residual_network(count: int, batch_size: int) -> None:
    """Its last layers see one pixel of an image of 8×8, which has no variance."""
    data, model = toy(count, 1), network("modern_baseline")
    before = weights(model)["prep.0.weight"].clone()
    history = train(model, measure(data.images), data, data, Recipe(1, batch_size, 1e-3, 0.0, 0, style="modern"), False)
    assert np.isfinite([history[0].train_loss, history[0].val_loss]).all()
    assert not torch.equal(weights(model)["prep.0.weight"], before)


def test_history_is_the_mean_loss_over_images_and_the_validation_of_that_epoch() -> None:
    """With a learning rate of almost 0 the network stays as it is, so all losses can be computed afterwards."""
    recipe = Recipe(epochs=1, batch_size=7, lr=1e-12, reg=0.0, seed=0)
    data, val, model = toy(20, 1), toy(12, 2), network()
    normalise = measure(data.images)
    history = train(model, normalise, data, val, recipe, progress=False)
    train_loss, _, _ = evaluate(model, normalise, data.images, data.labels)
    val_loss, val_accuracy, _ = evaluate(model, normalise, val.images, val.labels)
    assert history[0].train_loss == pytest.approx(train_loss, rel=1e-5)
    assert (history[0].val_loss, history[0].val_accuracy) == (val_loss, val_accuracy)


@pytest.mark.parametrize(("arch", "style"), [("descrambler", "paper"), ("modern_three_layer", "modern")])
def test_the_seed_decides_the_weights_bit_for_bit(arch: str, style: str) -> None:
    recipe = Recipe(epochs=2, batch_size=16, lr=0.001, reg=0.001, seed=5, style=style)
    first, again = (fitted(recipe, arch)[0].state_dict() for _ in range(2))
    torch.manual_seed(99)
    third = fitted(recipe, arch)[0].state_dict()
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
        assert torch.equal(weight, third[name])


def test_another_seed_gives_another_order_of_images() -> None:
    data = toy(40, 1)
    results = []
    for seed in (0, 1):
        model = network(seed=0)
        train(model, measure(data.images), data, toy(4, 2), Recipe(1, 16, 0.001, 0.0, seed), progress=False)
        results.append(weights(model))
    assert all(not torch.equal(weight, results[1][name]) for name, weight in results[0].items())


@pytest.mark.parametrize(("arch", "style"), [("three_layer", "paper"), ("modern_three_layer", "modern")])
def test_divergence_is_reported(arch: str, style: str) -> None:
    message = r"training diverged in epoch 1: .* train\.lr=1e\+30, train\.reg=0\.1\. Use a smaller train\.lr\.$"
    with pytest.raises(Diverged, match=message):
        fitted(Recipe(epochs=3, batch_size=8, lr=1e30, reg=0.1, seed=0, style=style), arch)
    assert issubclass(Diverged, PrivpipeError)


@pytest.mark.parametrize("progress", [True, False])
def test_the_bar_is_for_terminals_only(capfd: pytest.CaptureFixture[str], progress: bool) -> None:
    data = toy(8, 1)
    train(network(), measure(data.images), data, data, Recipe(1, 4, 0.001, 0.0, 0), progress=progress)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("progress", [True, False])
def test_on_a_terminal_the_bar_shows_unless_switched_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, progress: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    data = toy(8, 1)
    train(network(), measure(data.images), data, data, Recipe(1, 4, 0.001, 0.0, 0), progress=progress)
    assert ("val_accuracy" in capsys.readouterr().err) == progress
