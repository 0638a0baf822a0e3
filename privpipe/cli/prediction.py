"""Classify images: perturb each as the training set was, ask the model, and print what it says."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from privpipe.cli.console import printable
from privpipe.cli.perturbed_files import read_perturbed
from privpipe.cli.queries import Query, perturb_query, query_method
from privpipe.data.image_files import read_image
from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import Bundle, load_bundle
from privpipe.nn.device import deterministic
from privpipe.nn.inference import predict
from privpipe.owner.key import Key
from privpipe.owner.keyhome import check_key
from privpipe.perturb import RELEASES, Perturbation
from privpipe.perturb.none import Unperturbed
from privpipe.reading import Reading
from privpipe.store import PERTURBED, Header

MAX_FILE, MAX_CLASS = 60, 30  # characters of a column of the table
MAX_NAMED = 3  # images that a warning names


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of an image with their probabilities, the likeliest first.

    Args:
        unlike: in what the perturbed image is unlike the training images; empty where it is not.
    """

    file: str
    classes: tuple[tuple[str, float], ...]
    unlike: str = ""


@dataclass(frozen=True)
class Classifier:
    """A model, the transformation that its queries need, and how their files are read."""

    bundle: Bundle
    method: Perturbation
    reading: Reading


def judge(bundle: Bundle, perturbed: NDArray[Any], file: str, top: int) -> Prediction:
    """Classify a perturbed image (H, W, C) as it is stored; of equal probabilities the first in the model's order.

    Args:
        top: how many classes the prediction has.

    Raises:
        PrivpipeError: the scores are not finite.
    """
    images = torch.from_numpy(np.array(perturbed[None]))  # a copy: torch warns of arrays that are read-only
    scores = predict(bundle.model, bundle.normalise, images)
    if not bool(scores.isfinite().all()):
        raise PrivpipeError("the model gives scores that are not finite. Train it again, or use another.")
    probabilities = scores.double().softmax(1)[0].numpy()
    order = np.argsort(-probabilities, kind="stable")[:top]
    classes = tuple((bundle.class_names[i], float(probabilities[i])) for i in order)
    return Prediction(file, classes, bundle.statistics.unlike(perturbed) if bundle.statistics else "")


def load_classifier(path: str | Path, read_key: Callable[[], Key | None]) -> Classifier:
    """Read a model file and make the transformation that it names.

    Args:
        read_key: called where the method needs a key, which must be the one that the model file names: a wrong key
            gives wrong classes without a sign.

    Raises:
        PrivpipeError: the model is missing, damaged or for other images, or the key is another one; see also
            `query_method`.
    """
    bundle = load_bundle(path)
    reading = Reading.parse(bundle.reading)
    size = bundle.image_shape[0] if bundle.image_shape else bundle.architecture.image_size

    def read_checked() -> Key | None:
        key = read_key()
        if key is not None:
            check_key(key, bundle.key_fingerprint, path)
        return key

    method: Perturbation = Unperturbed(size)  # a model of a release of the whole set takes images as they are
    if bundle.method not in RELEASES:
        method = query_method(bundle.method, bundle.k, bundle.scope, bundle.sigma, size, read_checked, bundle.settings)
    header = Header(
        PERTURBED,
        bundle.method,
        bundle.k,
        bundle.scope,
        bundle.class_names,
        method.image_range,
        method.output_shape(reading.count),
        str(method.dtype),
        bundle.sigma,
        bundle.key_fingerprint,
        reading=bundle.reading,
        settings=method.settings,
        image_shape=(size, size, reading.count) if method.features else None,
    )
    bundle.check_fits(header, "the images to classify")
    return Classifier(bundle, method, reading)


def classify(
    queries: Sequence[Query], classifier: Classifier, top: int, report: Callable[[str], None]
) -> list[Prediction]:
    """Classify images one by one, with a progress bar.

    Memory is that of one image, and one at a time is what makes a result independent of the others: the
    last digits of a batch depend on its size.

    Args:
        report: called with a message for every image that cannot be classified; the others still are.
    """
    size, out = classifier.method.image_size, []
    with deterministic(threads=1):
        for query in tqdm(queries, desc="predict", unit="img", disable=None):
            try:
                perturbed = perturb_query(classifier.method, read_image(query.path, size, classifier.reading))
                out.append(judge(classifier.bundle, perturbed, str(query.path), top))
            except PrivpipeError as error:
                report(str(error))
    return out


def classify_perturbed(
    paths: Sequence[Path], bundle: Bundle, top: int, report: Callable[[str], None]
) -> list[Prediction]:
    """Classify images that are perturbed already, files and folders of `privpipe perturb`, one by one.

    Args:
        report: as for `classify`.
    """
    out = []
    with deterministic(threads=1):
        for name, perturbed in tqdm(read_perturbed(paths, bundle, report), desc="predict", unit="img", disable=None):
            try:
                out.append(judge(bundle, perturbed, name, top))
            except PrivpipeError as error:
                report(f"{name}: {error}")
    return out


def warnings_of(predictions: Sequence[Prediction]) -> str:
    """What to say of images that are unlike the training images; empty where there are none."""
    odd = [prediction for prediction in predictions if prediction.unlike]
    if not odd:
        return ""
    named = "; ".join(f"{printable(one.file)}: {one.unlike}" for one in odd[:MAX_NAMED])
    return (
        f"{len(odd)} of {len(predictions)} images are unlike those that the model was trained on, as the model sees "
        f"them: {named}{'; ...' if len(odd) > MAX_NAMED else ''}. Are they of the same kind, with the same range of "
        "values, and perturbed once, with the model's settings?"
    )


def as_json(predictions: Iterable[Prediction]) -> str:
    """A list of {file, class, probability, top}, `top` being a list of {class, probability}."""
    rows: list[dict[str, Any]] = []
    for prediction in predictions:
        ranked = [{"class": name, "probability": p} for name, p in prediction.classes]
        rows.append({"file": prediction.file, **ranked[0], "top": ranked})
    return json.dumps(rows, indent=2, allow_nan=False)


def as_csv(predictions: Iterable[Prediction], top: int) -> str:
    """Columns file, class, probability, then class_2, probability_2 and so on up to `top`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    further = [f"{name}_{i}" for i in range(2, top + 1) for name in ("class", "probability")]
    writer.writerow(["file", "class", "probability", *further])
    for prediction in predictions:
        # A file name of undecodable bytes cannot be printed as it is.
        file = prediction.file.encode("utf-8", "replace").decode()
        ranked = ((printable(name), probability) for name, probability in prediction.classes)
        writer.writerow([file, *(value for pair in ranked for value in pair)])
    return text.getvalue().rstrip("\n")


def as_table(predictions: Iterable[Prediction]) -> str:
    """Aligned columns; long file names lose their beginning, long class names their end."""
    rows = [["file", "class", "probability"]]
    for prediction in predictions:
        for i, (name, probability) in enumerate(prediction.classes):
            file = printable(prediction.file) if i == 0 else ""
            rows.append([_short(file, MAX_FILE, True), _short(printable(name), MAX_CLASS), f"{probability:.4f}"])
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{file:<{first}}  {name:<{second}}  {value:>11}" for file, name, value in rows)


def _short(text: str, most: int, from_start: bool = False) -> str:
    if len(text) <= most:
        return text
    return f"…{text[1 - most :]}" if from_start else f"{text[: most - 1]}…"
