"""The pipeline on real CIFAR-10 images, where an archive is at hand."""

import hashlib
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from projects import Project, set_params

ARCHIVE = os.environ.get("PRIVPIPE_CIFAR10")

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(ARCHIVE is None, reason="PRIVPIPE_CIFAR10 does not name a CIFAR-10 archive"),
]


def test_repro_on_real_images(project: Project) -> None:
    archive = Path(str(ARCHIVE)).resolve()
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    set_params(
        project,
        {
            "data.source": "cifar10",
            "data.image_size": 32,
            "data.archive": str(archive),
            "data.sha256": checksum,
            "data.n_train": 1000,
            "data.n_val": 200,
            "data.n_test": 200,
            "data.public": 0.4,
            "train.epochs": 3,
        },
    )
    project.dvc("repro")
    with h5py.File(project.folder / "data/private/images.h5") as file:
        images, labels = file["train/images"][:], file["train/labels"][:]
        names = [name.decode() for name in file.attrs["class_names"]]
    assert names[:3] == ["airplane", "automobile", "bird"]
    assert np.bincount(labels).tolist() == [100] * 10
    # The means of CIFAR-10's colours are 125.3, 123.0 and 113.9 levels.
    assert np.abs(images.mean(axis=(0, 1, 2)) - [125.3, 123.0, 113.9]).max() < 8
    assert project.metrics("evaluate")["test_accuracy_low"] > 0.1
    assert b"cifar10" in project.read("reports/index.html")
    # 800 public images are enough to undo a scramble of 1,000 without the key.
    privacy = project.metrics("privacy")
    assert privacy["l1_key_recovery"] > 0.99 and privacy["l1_confidence"] > 0.5
    assert privacy["l1_recognised"] >= privacy["original_recognised"]
