"""The cloud's first job where encodings with soft labels came (`privpipe.perturb.instahide`): train a network on them.

Signs are random, so the network looks at absolute values (`privpipe.layers.Folded`): whatever it could learn from
encodings, it can learn from these. Queries stay at home and are images as they are, as in the authors' code, which
trains on encodings and tests on plain images.
"""

from dataclasses import replace
from pathlib import Path

import torch

from privpipe.errors import PrivpipeError
from privpipe.files import need_space
from privpipe.networks.base import Architecture
from privpipe.networks.registry import network_for
from privpipe.nn.bundle import Bundle, model_bytes
from privpipe.nn.data import Resident
from privpipe.nn.device import Stopwatch, deterministic, resolve_device
from privpipe.nn.engine import Recipe
from privpipe.nn.inference import Normalisation
from privpipe.nn.models import build
from privpipe.nn.training import Epoch, train
from privpipe.released import Released

ENCODINGS, LABELS = "encodings", "labels"  # numbers of the form `soft_encodings`
HELD_OUT, MOST_HELD_OUT = 0.05, 1000  # encodings that the history is measured on
GREY = 127.5


def train_on_encodings(
    released: Released,
    arch: str,
    recipe: Recipe,
    device: str,
    threads: int,
    progress: bool = True,
    target: str | Path | None = None,
) -> tuple[Bundle, list[Epoch], float]:
    """Train a classifier of images on encodings; a twentieth of them is held out.

    Args:
        arch, recipe, device, threads, progress, target: see `privpipe.nn.train_job.train_file`.

    Returns:
        The model, which takes images uint8; what each epoch came to, its accuracy that of naming the heaviest class of
        held-out encodings; and the seconds.

    Raises:
        PrivpipeError: the release has no such numbers, there is no such device, the disk has no space for the model,
            or training diverged.
    """
    about, place = released.about, resolve_device(device)
    missing = {ENCODINGS, LABELS} - released.numbers.keys()
    if missing:
        raise PrivpipeError(f"the release has no {', '.join(sorted(missing))}. Make it again with `dvc repro`.")
    images = torch.from_numpy(released.numbers[ENCODINGS])
    labels = torch.from_numpy(released.numbers[LABELS])
    out = max(1, min(MOST_HELD_OUT, round(HELD_OUT * len(labels))))
    if len(labels) < 2 * out or labels.shape[1] != len(about.class_names) or images.shape[1:] != about.shape:
        raise PrivpipeError(
            f"a network is trained on encodings of shape {about.shape} with labels of {len(about.class_names)} "
            f"classes; got {len(images)} of shape {tuple(images.shape[1:])}. Make the release again with `dvc repro`."
        )
    as_it_is = _centred(about.shape[2], 0.0, 1.0)
    network = network_for(arch, recipe.style)
    architecture = Architecture(network.name, about.shape[0], about.shape[2], len(about.class_names))
    architecture = replace(architecture, k=network().block_size(about.shape[0], 1), folded=True)
    with deterministic(threads):
        model = build(architecture, torch.Generator().manual_seed(recipe.seed)).to(place)
        if target is not None:
            need_space(target, model_bytes(model))
        train_set = Resident(images[out:].to(place), labels[out:].to(place))
        held_out = Resident(images[:out], labels[:out].argmax(dim=1))
        watch = Stopwatch()
        history = train(model, as_it_is.to(place), train_set, held_out, recipe, progress)
        seconds = watch.seconds()
    settings = (about.method, 1, "dataset", "uint8", (0.0, 255.0))
    normalise = _centred(about.shape[2], GREY, GREY)
    bundle = Bundle(model.cpu(), normalise, architecture, about.class_names, *settings, reading=about.reading)
    return bundle, history, seconds


def _centred(channels: int, mean: float, spread: float) -> Normalisation:
    return Normalisation(torch.full((channels,), mean), torch.full((channels,), spread))
