"""The cloud's first job, from file to model: train a classifier on perturbed images."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from privpipe.errors import PrivpipeError
from privpipe.files import need_space
from privpipe.layers import BlockFullyConnected
from privpipe.networks.base import Architecture
from privpipe.networks.registry import network_for
from privpipe.nn.bundle import Bundle, model_bytes
from privpipe.nn.data import Resident, TrainingSet, load_split, load_training
from privpipe.nn.device import Stopwatch, deterministic, resolve_device, resolve_precision
from privpipe.nn.encodings_job import train_on_encodings
from privpipe.nn.engine import Recipe
from privpipe.nn.inference import Normalisation, measure
from privpipe.nn.input_statistics import InputStatistics, measure_inputs
from privpipe.nn.models import build
from privpipe.nn.release_job import fit_release
from privpipe.nn.training import Epoch, train
from privpipe.parameters import Model, Train
from privpipe.released import Released, is_release, load_released
from privpipe.store import PERTURBED, Header, open_store

SOFT_ENCODINGS = "soft_encodings"  # the form of `privpipe.perturb.instahide`
# Sets the first weights of a BFC layer from perturbed images, uint8 (N, H, W, C), and says how far to believe them.
Prepare = Callable[[BlockFullyConnected, Tensor, Header], float | None]


@dataclass(frozen=True)
class Training:
    """What a training run gave.

    Args:
        metrics: the same for the same inputs, parameters and machine.
        times: wall-clock seconds and images per second, which no two runs share.
    """

    bundle: Bundle
    history: list[Epoch]
    metrics: dict[str, float | str | None]
    times: dict[str, float]


def recipe_of(model: Model, settings: Train) -> Recipe:
    """How the parameters say to train."""
    return Recipe(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        reg=settings.reg,
        seed=settings.seed,
        penalty=model.penalty,
        style=settings.recipe,
        lr_decay=settings.lr_decay,
        precision=settings.precision,
    )


def train_experiment(
    path: str | Path,
    model: Model,
    settings: Train,
    prepare: Prepare | None = None,
    progress: bool = True,
    target: str | Path | None = None,
) -> Training:
    """`train_file` as the parameters say; `model.descrambler` is for whoever makes `prepare`.

    To a release of a whole set a classifier is fitted instead, which has no parameters, unless it is encodings to be
    trained on.
    """
    recipe = recipe_of(model, settings)
    if is_release(path):
        released = load_released(path)
        if released.about.form != SOFT_ENCODINGS:
            return _fitted(path)
        return _on_encodings(released, model.arch, recipe, settings, progress, target)
    return train_file(
        path, model.arch, recipe, settings.device, settings.threads, prepare, progress, settings.memory_mb, target
    )


def _fitted(path: str | Path) -> Training:
    watch = Stopwatch()
    bundle = fit_release(path)
    metrics: dict[str, float | str | None] = {"descrambler_confidence": None, "device": "cpu"}
    metrics |= {"precision": "float64", "final_train_loss": None}
    return Training(bundle, [], metrics, {"descrambler_seconds": 0.0, "seconds": round(watch.seconds(), 2)})


def _on_encodings(
    released: Released, arch: str, recipe: Recipe, settings: Train, progress: bool, target: str | Path | None
) -> Training:
    device, threads = settings.device, settings.threads
    bundle, history, seconds = train_on_encodings(released, arch, recipe, device, threads, progress, target)
    place = resolve_device(device)
    metrics: dict[str, float | str | None] = {
        "descrambler_confidence": None,
        "device": device_name(place, threads),
        "precision": str(resolve_precision(recipe.precision, place)).removeprefix("torch."),
        "final_train_loss": history[-1].train_loss,
    }
    times = {"descrambler_seconds": 0.0, "seconds": round(seconds, 2)}
    return Training(bundle, history, metrics, times)


def device_name(place: torch.device, threads: int) -> str:
    """What trained, for people."""
    return torch.cuda.get_device_name(place) if place.type == "cuda" else f"cpu, {threads} threads"


def train_file(
    path: str | Path,
    arch: str,
    recipe: Recipe,
    device: str,
    threads: int,
    prepare: Prepare | None = None,
    progress: bool = True,
    memory_mb: int | None = None,
    target: str | Path | None = None,
) -> Training:
    """Train a classifier on a file of perturbed images.

    Args:
        arch: as `model.arch`; the network is that of the recipe's style (`privpipe.networks.registry.network_for`), and
            its blocks are those of the file's k.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads.
        prepare: sets what the BFC layer of a descrambler begins with, such as `privpipe.attacks.descrambler_init` makes
            it; None: the drawn weights. Other architectures have no such layer.
        progress: show bars on standard error.
        memory_mb: what the training images may take, see `privpipe.nn.data.load_training`.
        target: the file that the model will be written to; space for it is asked for before the work.

    Raises:
        PrivpipeError: the file is missing or damaged, there is no such device, the descrambler does not fit the
            images, the memory does not hold two batches, the disk has no space for the model, or training diverged.
    """
    place = resolve_device(device)
    with deterministic(threads), open_store(path, PERTURBED) as store:
        header = store.header
        if header.shape[0] != header.shape[1]:
            raise PrivpipeError(f"{path} has images of shape {header.shape}; they must be square. Perturb square ones.")
        train_set = load_training(store, place, recipe.batch_size, memory_mb)
        val_set = load_split(store, "val", place if isinstance(train_set, Resident) else torch.device("cpu"))
        network = network_for(arch, recipe.style)
        block = network().block_size(header.shape[0], header.stored_k)
        architecture = Architecture(network.name, header.shape[0], header.shape[2], len(header.class_names), block)
        model = build(architecture, torch.Generator().manual_seed(recipe.seed)).to(place)
        if target is not None:
            need_space(target, model_bytes(model))
        watch = Stopwatch()
        confidence = None if prepare is None else _prepared(model, prepare, train_set, header)
        descrambler_seconds = watch.seconds()
        statistics = measure_inputs(train_set.parts())
        watch = Stopwatch()
        normalise = measure(train_set.parts())
        history = train(model, normalise, train_set, val_set, recipe, progress)
        seconds = watch.seconds()
    metrics: dict[str, float | str | None] = {
        "descrambler_confidence": confidence,
        "device": device_name(place, threads),
        "precision": str(resolve_precision(recipe.precision, place)).removeprefix("torch."),
        "final_train_loss": history[-1].train_loss,
    }
    times = {
        "descrambler_seconds": round(descrambler_seconds, 2),
        "seconds": round(seconds, 2),
        "images_per_second": round(recipe.epochs * train_set.count / seconds, 1),
    }
    return Training(_bundle(model.cpu(), normalise, architecture, header, statistics), history, metrics, times)


def _prepared(model: nn.Sequential, prepare: Prepare, train_set: TrainingSet, header: Header) -> float | None:
    """Set what the BFC layers of `model` begin with; returns the confidence in the last, None where there is none."""
    confidence = None
    for layer in model:
        if isinstance(layer, BlockFullyConnected):
            # Of a set that is streamed, its first part: the stored order is random.
            confidence = prepare(layer, next(train_set.parts()), header)
    return confidence


def _bundle(
    model: nn.Sequential,
    normalise: Normalisation,
    architecture: Architecture,
    header: Header,
    statistics: InputStatistics,
) -> Bundle:
    """The model with all that its user must know of the images that it was trained on."""
    return Bundle(
        model,
        normalise,
        architecture,
        header.class_names,
        header.method,
        header.k,
        header.scope,
        header.dtype,
        header.image_range,
        header.sigma,
        header.key_fingerprint,
        header.salt,
        header.reading,
        header.settings,
        statistics,
        header.image_shape,
    )


def history_rows(history: list[Epoch]) -> tuple[list[str], list[list[float]]]:
    """Header and rows of the training curve; no rows where nothing was trained."""
    names = [field.name for field in fields(Epoch)]
    return names, [[getattr(epoch, name) for name in names] for epoch in history]
