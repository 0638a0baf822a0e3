"""Training as one would write it without privpipe, and privpipe's, on any device.

    plain_loop(model, ready, labels)            # the whole set float32 on the device, one eager loop
    loader_loop(model, stored, labels, mean, std)    # torch's DataLoader with its defaults
    ours(model, normalise, images, labels)      # privpipe.nn.training.train, as the train stage calls it

Each is one epoch of batches of 64, cross-entropy, Adam. Ours does a little more: the penalty on the weights,
deterministic algorithms, and the evaluation of a validation set, here a fiftieth of the images. All of it needs torch
and `privpipe.nn`, and nothing else of the project.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from privpipe.layers import BlockFullyConnected
from privpipe.networks.base import Architecture
from privpipe.nn.data import Resident
from privpipe.nn.device import deterministic
from privpipe.nn.engine import Recipe
from privpipe.nn.inference import Normalisation
from privpipe.nn.models import build
from privpipe.nn.training import train

BATCH = 64
CLASSES = 10
MODELS = ("baseline", "three_layer", "descrambler", "modern_baseline")
BLOCK = 4  # of the descrambler


def new_model(arch: str, size: int = 32, seed: int = 0) -> nn.Sequential:
    """A network of `privpipe.nn.models`, on the CPU."""
    return build(Architecture(arch, size, 3, CLASSES, BLOCK), torch.Generator().manual_seed(seed))


def recipe(arch: str, precision: str, epochs: int = 1, seed: int = 0) -> Recipe:
    """The study's recipe, or the modern one for a network of it."""
    if arch.startswith("modern"):
        return Recipe(epochs, BATCH, 0.05, 0.0005, seed, style="modern", precision=precision)
    return Recipe(epochs, BATCH, 0.001, 0.001, seed, lr_decay=0.8, precision=precision)


def ours(
    model: nn.Sequential,
    normalise: Normalisation,
    images: Tensor,
    labels: Tensor,
    how: Recipe,
    threads: int = 2,
) -> None:
    """Train as `privpipe.nn.train_job.train_file` does; images uint8 (N, H, W, C) on the model's device."""
    held_out = max(1, len(images) // 50)
    with deterministic(threads):
        train(
            *(model, normalise, Resident(images, labels), Resident(images[:held_out], labels[:held_out]), how),
            progress=False,
        )


def ready(images: Tensor, normalise: Normalisation) -> Tensor:
    """The whole set as the network takes it, float32 (N, C, H, W), channels last in memory."""
    return torch.cat([normalise(part) for part in torch.split(images, 4096)]).contiguous(
        memory_format=torch.channels_last
    )


def plain_loop(
    model: nn.Sequential, images: Tensor, labels: Tensor, precision: torch.dtype = torch.float32, epochs: int = 1
) -> None:
    """An eager loop over a set from `ready`; another precision than float32 by autocast."""
    optimiser = torch.optim.Adam(model.parameters())
    model.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images), device=images.device), BATCH):
            with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
                loss = F.cross_entropy(model(images[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    loss.item()  # a GPU has done all of it then


def loader_loop(
    model: nn.Sequential, images: Tensor, labels: Tensor, normalise: Normalisation, epochs: int = 1
) -> None:
    """torch's DataLoader over uint8 (N, C, H, W) on the CPU; batches go to the model's device and become float32 there.

    The network should be in torch's default memory format, as `nn.Module.to(memory_format=torch.contiguous_format)`.
    """
    device = next(model.parameters()).device
    mean, std = normalise.mean[:, None, None], normalise.std[:, None, None]
    optimiser = torch.optim.Adam(model.parameters())
    model.train()
    for _ in range(epochs):
        for batch, answers in DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True):
            x = (batch.to(device).float() - mean) / std
            loss = F.cross_entropy(model(x), answers.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    loss.item()


def operations(arch: str, size: int = 32) -> int:
    """Floating-point operations of training on one image: two for each multiply-add of convolutions and products.

    Forward, the gradient of the weights, and the gradient of the input, which the first layer needs none of.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: object, out: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            counts.append(out[0].numel() * layer.weight[0].numel())
        elif isinstance(layer, nn.Linear):
            counts.append(layer.weight.numel())
        elif isinstance(layer, BlockFullyConnected):
            counts.append(3 * layer.weight.numel())  # for each of the three colours

    model = new_model(arch, size)
    hooks = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    first, *others = counts
    return 2 * (2 * first + 3 * sum(others))
