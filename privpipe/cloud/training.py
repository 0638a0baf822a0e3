"""Training: the whole set as one tensor on the device, one loop that fits on a screen."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from privpipe.cloud.models import BlockFullyConnected
from privpipe.errors import PrivpipeError

EVALUATION_BATCH = 1000
MOMENTUM, LABEL_SMOOTHING, WARM_UP = 0.9, 0.1, 0.2  # of the modern recipe; the last as a share of all steps


class Diverged(PrivpipeError):
    """The loss is no longer finite."""


@dataclass(frozen=True)
class Recipe:
    """How to train; the meaning of each is in `privpipe.params.Train`.

    Args:
        penalty: `l1` or `l2`, on the BFC layer; the other weights always have l2.
        style: `paper`: Adam, the learning rate falling by a factor after each epoch, cross-entropy. `modern`: SGD with
            Nesterov momentum, a one-cycle learning rate, cross-entropy with smoothed labels.
    """

    epochs: int
    batch_size: int
    lr: float
    reg: float
    seed: int
    penalty: str = "l1"
    style: str = "paper"
    lr_decay: float = 1.0


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean training loss without penalties, and loss and accuracy on validation.

    The training loss is with smoothed labels where the recipe has them, the validation loss never.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class Normalisation:
    """Statistics of the perturbed training set, per colour, float32 (C,): part of the model."""

    mean: Tensor
    std: Tensor

    def to(self, device: torch.device) -> "Normalisation":
        return Normalisation(self.mean.to(device), self.std.to(device))

    def __call__(self, images: Tensor) -> Tensor:
        """Stored images (B, H, W, C), uint8 or float16, to network input float32 (B, C, H, W), channels last."""
        return ((images.float() - self.mean) / self.std).permute(0, 3, 1, 2)


def measure(images: Tensor, chunk: int = 4096) -> Normalisation:
    """Mean and standard deviation of images (N, H, W, C) per colour, summed in float64."""
    channels = images.shape[-1]
    sums = torch.zeros(2, channels, dtype=torch.float64, device=images.device)
    for part in torch.split(images, chunk):
        values = part.reshape(-1, channels).double()
        sums += torch.stack([values.sum(0), values.square().sum(0)])
    mean, square = sums / (images.numel() / channels)
    std = (square - mean.square()).clamp(min=0).sqrt()
    # A constant set (blank images) is centred and otherwise left as it is.
    return Normalisation(mean.float(), torch.where(std > 0, std, 1.0).float())


def resolve_device(name: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda`.

    Raises:
        PrivpipeError: `cuda` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise PrivpipeError("train.device=cuda, but torch sees no CUDA device here. Use train.device=auto or cpu.")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Within the block torch uses `threads` CPU threads and deterministic algorithms only."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def train(
    model: nn.Sequential,
    normalise: Normalisation,
    train_set: tuple[Tensor, Tensor],
    val_set: tuple[Tensor, Tensor],
    recipe: Recipe,
    progress: bool = True,
) -> list[Epoch]:
    """Fit `model` in place and return what each epoch came to.

    Args:
        model: on the device where the sets are.
        train_set, val_set: images (N, H, W, C) as stored, and labels int64 (N,).
        progress: show a bar with the running validation accuracy on standard error.

    Raises:
        Diverged: the loss is no longer finite.
    """
    images, labels = train_set
    count, device = len(images), images.device
    order = torch.Generator().manual_seed(recipe.seed)
    optimiser, l1_weights = _optimiser(model, recipe)
    smoothing = LABEL_SMOOTHING if recipe.style == "modern" else 0.0
    history: list[Epoch] = []
    steps = math.ceil(count / recipe.batch_size)
    schedule = iter(learning_rates(recipe, steps))
    with tqdm(total=recipe.epochs * steps, desc="train", unit="step", disable=None if progress else True) as bar:
        for epoch in range(1, recipe.epochs + 1):
            total = torch.zeros((), device=device)
            for rows in torch.split(torch.randperm(count, generator=order).to(device), recipe.batch_size):
                model.train(len(rows) > 1)  # one image has no statistics: it is normalised as in prediction
                rate = next(schedule)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                loss = F.cross_entropy(model(normalise(images[rows])), labels[rows], label_smoothing=smoothing)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs give it no types
                for weight in l1_weights:
                    assert weight.grad is not None
                    weight.grad.add_(weight.detach().sign(), alpha=recipe.reg)
                optimiser.step()
                total += loss.detach() * len(rows)
                bar.update()
            val_loss, val_accuracy, _ = evaluate(model, normalise, *val_set)
            history.append(Epoch(epoch, total.item() / count, val_loss, val_accuracy))
            if not math.isfinite(history[-1].train_loss + val_loss):
                raise Diverged(
                    f"training diverged in epoch {epoch}: the loss is not finite with train.lr={recipe.lr}, "
                    f"train.reg={recipe.reg}. Use a smaller train.lr."
                )
            bar.set_postfix(epoch=epoch, val_accuracy=f"{val_accuracy:.3f}")
    return history


def learning_rates(recipe: Recipe, steps: int) -> Iterator[float]:
    """The learning rate of each step in turn, over all epochs of `steps` steps each.

    paper: `lr`, times `lr_decay` after each epoch. modern: up to `lr` in a straight line over the first fifth of the
    steps, then down to 0 (a one-cycle schedule, after Smith and Topin 2018, arXiv 1708.07120).
    """
    total = recipe.epochs * steps
    warm = max(1, round(WARM_UP * total))
    for step in range(total):
        if recipe.style == "modern":
            yield recipe.lr * min((step + 1) / warm, (total - step) / max(1, total - warm))
        else:
            yield recipe.lr * recipe.lr_decay ** (step // steps)


def _optimiser(model: nn.Sequential, recipe: Recipe) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    """The optimiser of the recipe, and the weights whose l1 penalty the loop adds to their gradient.

    Adam (Kingma and Ba 2015) or SGD with Nesterov momentum. The penalty reg/2 · |w|² on weights, none on biases, enters
    as its gradient reg · w. Weights that ask for no gradient are left alone.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    layers = [layer for layer in model if isinstance(layer, BlockFullyConnected) and recipe.penalty == "l1"]
    l1 = [layer.weight for layer in layers if layer.weight.requires_grad]
    skip = {id(weight) for weight in l1}
    decayed = [p for p in trained if p.ndim > 1 and id(p) not in skip]
    others = [p for p in trained if p.ndim <= 1 or id(p) in skip]
    groups = [{"params": decayed, "weight_decay": recipe.reg}, {"params": others, "weight_decay": 0.0}]
    if recipe.style == "modern":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM, nesterov=True, fused=True), l1
    return torch.optim.Adam(groups, lr=recipe.lr, fused=True), l1


@torch.no_grad()
def predict(model: nn.Module, normalise: Normalisation, images: Tensor) -> Tensor:
    """Class scores, float32 (N, classes), of stored images (N, H, W, C)."""
    model.eval()
    return torch.cat([model(normalise(part)) for part in torch.split(images, EVALUATION_BATCH)])


def evaluate(model: nn.Module, normalise: Normalisation, images: Tensor, labels: Tensor) -> tuple[float, float, Tensor]:
    """Mean cross-entropy, accuracy, and the predicted classes int64 (N,)."""
    scores = predict(model, normalise, images)
    predicted = scores.argmax(1)
    loss = F.cross_entropy(scores.double(), labels).item()
    return loss, (predicted == labels).double().mean().item(), predicted


class Stopwatch:
    """Wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.start
