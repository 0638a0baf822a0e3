"""Training: a loop that fits on a screen, over a set that lies on the device or is streamed to it."""

import math
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from tqdm import tqdm

from privpipe.errors import PrivpipeError
from privpipe.nn.contention import Contention
from privpipe.nn.data import Resident, TrainingSet
from privpipe.nn.engine import Engine, Recipe, learning_rates
from privpipe.nn.inference import Normalisation, evaluate


class Diverged(PrivpipeError):
    """The loss is no longer finite."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean training loss without penalties, and loss and accuracy on validation.

    The training loss is with smoothed labels where the recipe has them, the validation loss never.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float


def train(
    model: nn.Sequential,
    normalise: Normalisation,
    train_set: TrainingSet,
    val_set: Resident,
    recipe: Recipe,
    progress: bool = True,
) -> list[Epoch]:
    """Fit `model` in place and return what each epoch came to.

    Args:
        model, normalise: on the device that trains.
        train_set: what to learn from; its images are on that device, or come there in parts.
        val_set: held-out images, on any device.
        progress: show a bar with the running validation accuracy on standard error.

    Raises:
        Diverged: the loss is no longer finite.
    """
    steps = train_set.steps(recipe.batch_size)
    with tqdm(total=recipe.epochs * steps, desc="train", unit="step", disable=None if progress else True) as bar:
        work = training(model, normalise, train_set, val_set, recipe)
        history: list[Epoch] = []
        while True:
            try:
                epoch = next(work)
            except StopIteration:
                return history
            if epoch is None:
                bar.update()
            else:
                history.append(epoch)
                bar.set_postfix(epoch=epoch.epoch, val_accuracy=f"{epoch.val_accuracy:.3f}")


def training(
    model: nn.Sequential,
    normalise: Normalisation,
    train_set: TrainingSet,
    val_set: Resident,
    recipe: Recipe,
    record: bool = True,
) -> Generator[Epoch | None, None, None]:
    """The work of `train` in small pieces: None after each step, an `Epoch` after each epoch.

    So that several models can take turns (`benchmarks/together.py`).
    """
    engine = Engine(model, normalise, recipe, record)
    # Of a step on a GPU this thread sees no more than its launch.
    watch = Contention(torch.get_num_threads()) if engine.device.type == "cpu" else nullcontext()
    order = torch.Generator().manual_seed(recipe.seed)
    rates = learning_rates(recipe, train_set.steps(recipe.batch_size))
    for number in range(1, recipe.epochs + 1):
        for images, labels, shuffled in train_set.epoch(order, recipe.batch_size):
            for rows in torch.split(shuffled, recipe.batch_size):
                with watch:
                    engine.step(images, labels, rows, next(rates))
                yield None
        val_loss, val_accuracy, _ = evaluate(model, normalise, val_set.images, val_set.labels)
        epoch = Epoch(number, engine.take_loss().item() / train_set.count, val_loss, val_accuracy)
        if not math.isfinite(epoch.train_loss + val_loss):
            raise Diverged(
                f"training diverged in epoch {number}: the loss is not finite with train.lr={recipe.lr}, "
                f"train.reg={recipe.reg}. Use a smaller train.lr."
            )
        yield epoch
