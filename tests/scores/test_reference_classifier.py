"""The classifier that looks at reconstructions: trained on raw images, the same from its file."""

from pathlib import Path

import numpy as np
import pytest

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import save_bundle
from privpipe.scores.reference_classifier import load_reference_classifier, train_reference_classifier


def test_it_learns_from_raw_images_and_survives_a_file(tmp_path: Path) -> None:
    train, test = draw(330, 16, rng=np.random.default_rng(0)), draw(10, 16, rng=np.random.default_rng(1))
    rows = {"train": np.arange(300), "val": np.arange(300, 330), "test": np.arange(10)}
    write_images(tmp_path / "images.h5", train, test, rows)
    bundle = train_reference_classifier(tmp_path / "images.h5", 30, 0, "cpu", 1)
    assert (bundle.method, bundle.architecture.arch) == ("none", "baseline")
    save_bundle(tmp_path / "reference_classifier.safetensors", bundle)
    recognise = load_reference_classifier(tmp_path / "reference_classifier.safetensors", "cpu", 1)
    assert (recognise(train.images[:300]) == train.labels[:300]).mean() > 0.5
    assert recognise(test.images).dtype == np.int64


def test_perturbed_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"images.h5 is missing"):
        train_reference_classifier(tmp_path / "images.h5", 1, 0, "cpu", 1)
