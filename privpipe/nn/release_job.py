"""The cloud's first job where a release of a whole set came: fit a classifier to its numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.networks.base import Architecture
from privpipe.nn.bundle import Bundle
from privpipe.nn.fitted import Fitted
from privpipe.nn.inference import Normalisation
from privpipe.nn.models import build
from privpipe.released import load_released
from privpipe.statistics import mixtures, noisy_sums
from privpipe.statistics.classifier import Classifier

# By `privpipe.perturb.release.SetRelease.form`: from the numbers of a release to a classifier.
FORMS: dict[str, Callable[[Mapping[str, NDArray[Any]]], Classifier]] = {
    module.FORM: module.fitted for module in (noisy_sums, mixtures)
}


def fit_release(path: str | Path) -> Bundle:
    """The model that the release at `path` makes possible; it takes images as they are, uint8.

    Raises:
        PrivpipeError: the file is missing or damaged, or its numbers are of a form that nobody here knows.
    """
    released = load_released(path)
    about = released.about
    if about.form not in FORMS:
        raise PrivpipeError(f"{path} holds numbers of the form {about.form!r}; {', '.join(FORMS)} can be fitted to.")
    try:
        arrays = FORMS[about.form](released.numbers).arrays()
    except (KeyError, ValueError, IndexError) as error:
        raise PrivpipeError(
            f"{path} does not hold what a release of the form {about.form} has: {error}. Make it again with "
            "`dvc repro`."
        ) from error
    size, _, channels = about.shape
    shapes = tuple((name, values.shape) for name, values in sorted(arrays.items()))
    architecture = Architecture(Fitted.name, size, channels, len(about.class_names), shapes=shapes)
    model = build(architecture)
    model.load_state_dict(
        {f"classifier.{name.replace('.', '/')}": torch.from_numpy(values) for name, values in arrays.items()}
    )
    as_it_is = Normalisation(torch.zeros(channels), torch.ones(channels))
    settings = (about.method, 1, "dataset", "uint8", (0.0, 255.0))
    return Bundle(model, as_it_is, architecture, about.class_names, *settings, reading=about.reading)
