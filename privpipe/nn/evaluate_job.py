"""The cloud's second job, from file to figures: evaluate a model on held-out perturbed images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import load_bundle
from privpipe.nn.data import load_split
from privpipe.nn.device import deterministic, resolve_device
from privpipe.nn.inference import evaluate
from privpipe.nn.statistics import wilson_interval
from privpipe.released import is_release, load_released, sha256_of
from privpipe.store import PERTURBED, QUERIES, open_store


@dataclass(frozen=True)
class Evaluation:
    """Metrics, and the true and predicted classes of the test images, int64 (N,) each.

    In the order of the images, or sorted where the images stay at home.
    """

    metrics: dict[str, float]
    actual: NDArray[np.int64]
    predicted: NDArray[np.int64]
    class_names: tuple[str, ...]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Actual and predicted class of each test image, by name."""
        for actual, predicted in zip(self.actual, self.predicted, strict=True):
            yield self.class_names[actual], self.class_names[predicted]

    def by_class(self) -> Iterator[tuple[str, float | None, int]]:
        """Name, accuracy (None without images) and number of test images of each class."""
        for label, name in enumerate(self.class_names):
            of_class = self.actual == label
            count = int(of_class.sum())
            right = int((self.predicted[of_class] == label).sum())
            yield name, right / count if count else None, count


def evaluate_file(
    path: str | Path, model_path: str | Path, device: str, threads: int, queries: str | Path | None = None
) -> Evaluation:
    """Evaluate a model on the validation and test images of a file perturbed like its training set.

    Args:
        queries: holds these images where `path` is a release of a whole set (QUERIES); else it is not read.

    Raises:
        PrivpipeError: a file is missing or damaged, or the model was trained on other images.
    """
    place = resolve_device(device)
    released = is_release(path)
    asked, kind = (_queries_of(path, queries), QUERIES) if released else (path, PERTURBED)
    with deterministic(threads), open_store(asked, kind) as store:
        bundle = load_bundle(model_path)
        # The model came from elsewhere, where nobody knows the salt of a file that stays at home.
        bundle.check_fits(replace(store.header, salt="") if released else store.header, asked)
        model, normalise = bundle.model.to(place), bundle.normalise.to(place)
        val, test = (load_split(store, split, torch.device("cpu")) for split in ("val", "test"))
        val_loss, val_accuracy, _ = evaluate(model, normalise, val.images, val.labels)
        loss, accuracy, predicted = evaluate(model, normalise, test.images, test.labels)
    labels, actual = test.labels, test.labels.numpy()
    if released:
        # These images are raw and nobody else has them. Which of them is taken for what stays at home, and so do the
        # digits of a loss by which a guess of one could be tested.
        val_loss, loss = round(val_loss, 2), round(loss, 2)
        order = np.lexsort((predicted.cpu().numpy(), actual))
        actual, predicted = actual[order], predicted.cpu()[order]
    low, high = wilson_interval(round(accuracy * len(labels)), len(labels))
    metrics = {
        "val_accuracy": val_accuracy,
        "val_loss": val_loss,
        "test_accuracy": accuracy,
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "test_loss": loss,
    }
    return Evaluation(metrics, actual, predicted.cpu().numpy(), bundle.class_names)


def _queries_of(release: str | Path, queries: str | Path | None) -> Path:
    """The file of queries that were made with a release."""
    if queries is None or not Path(queries).is_file():
        raise PrivpipeError(
            f"{release} holds no images, and its queries stay at home: there is no {queries or 'file of them'} here. "
            "Evaluate where they are, with the model: `dvc pull train`, then `dvc repro evaluate`."
        )
    if sha256_of(queries) != load_released(release).about.queries:
        raise PrivpipeError(f"{queries} are not the queries of {release}. Make both again with `dvc repro perturb`.")
    return Path(queries)
