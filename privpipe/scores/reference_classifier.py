"""The plain classifier that looks at reconstructions: if it tells what is on them, so would a person.

It is trained on the owner's own unperturbed images, so it never leaves the owner.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from privpipe.files import need_space
from privpipe.networks.base import Architecture
from privpipe.nn.bundle import Bundle, load_bundle, model_bytes
from privpipe.nn.data import load_split
from privpipe.nn.device import deterministic, resolve_device
from privpipe.nn.engine import Recipe
from privpipe.nn.inference import measure, predict
from privpipe.nn.models import build
from privpipe.nn.training import train
from privpipe.salt import derived_salt
from privpipe.scores.base import Recognise
from privpipe.store import RAW, open_store

# Of its own: what is tried on the classifier of perturbed images must not change the eye that looks at reconstructions.
BATCH_SIZE, LEARNING_RATE, PENALTY = 64, 0.001, 0.001


def train_reference_classifier(
    images: str | Path, epochs: int, seed: int, device: str, threads: int, target: str | Path | None = None
) -> Bundle:
    """Train the `baseline` classifier on raw images (RAW).

    Args:
        epochs: passes over the training images.
        seed: draws the initial weights and the order of the images.
        device, threads: see `privpipe.parameters.Train`.
        target: the file that the model will be written to; space for it is asked for before the work.

    Raises:
        PrivpipeError: the file is missing or damaged, there is no such device, the disk has no space for the model, or
            training diverged.
    """
    place = resolve_device(device)
    recipe = Recipe(epochs, BATCH_SIZE, LEARNING_RATE, PENALTY, seed)
    with deterministic(threads), open_store(images, RAW) as store:
        header = store.header
        train_set, val_set = load_split(store, "train", place), load_split(store, "val", place)
        architecture = Architecture("baseline", header.shape[0], header.shape[2], len(header.class_names))
        model = build(architecture, torch.Generator().manual_seed(recipe.seed)).to(place)
        if target is not None:
            need_space(target, model_bytes(model))
        normalise = measure(train_set.images)
        train(model, normalise, train_set, val_set, recipe)
    unperturbed = ("none", 1, "dataset", header.dtype, header.image_range)
    salt = derived_salt(header.salt, "reference_classifier")
    return Bundle(
        model.cpu(), normalise, architecture, header.class_names, *unperturbed, salt=salt, reading=header.reading
    )


def load_reference_classifier(path: str | Path, device: str, threads: int) -> Recognise:
    """The classifier of a file, from images uint8 (T, H, W, C) to classes int64 (T,).

    Raises:
        PrivpipeError: the file is missing or damaged, or there is no such device.
    """
    bundle, place = load_bundle(path), resolve_device(device)
    model, normalise = bundle.model.to(place), bundle.normalise.to(place)

    def recognise(images: NDArray[np.uint8]) -> NDArray[np.int64]:
        with deterministic(threads):
            scores = predict(model, normalise, torch.from_numpy(images).to(place))
        classes: NDArray[np.int64] = scores.argmax(1).cpu().numpy()
        return classes

    return recognise
