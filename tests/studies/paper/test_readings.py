"""What 8 bits leave of a filtered image, and that a model is trained on nothing else."""

from pathlib import Path

import numpy as np
import pytest
from small_sweep import models, write_small_images

from privpipe.store import PERTURBED, open_store
from studies.paper.eight_bits import SavedIn8Bits, in_8_bits, measure

FILTER = {"perturb": {"method": "random_filter", "k": 3, "scope": "image"}, "train": {"epochs": 1}}


def test_values_are_rounded_to_256_levels_and_the_rest_is_cut_off() -> None:
    images = np.array([-3.5, -0.001, 0.0, 0.5 / 255 + 1e-4, 100.4 / 255, 1.0, 1.002, 60_000.0], np.float16)
    saved = in_8_bits(images.reshape(1, 2, 4, 1), (0.0, 1.0))
    assert saved.dtype == np.float16
    np.testing.assert_array_equal(np.rint(saved.astype(float) * 255).ravel(), [0, 0, 0, 1, 100, 255, 255, 255])


def test_a_second_time_changes_nothing() -> None:
    images = np.random.default_rng(0).normal(0.5, 2, (3, 4, 4, 3)).astype(np.float16)
    once = in_8_bits(images, (0.0, 1.0))
    np.testing.assert_array_equal(in_8_bits(once, (0.0, 1.0)), once)


def test_the_model_is_trained_on_what_8_bits_left(tmp_path: Path) -> None:
    images = write_small_images(tmp_path / "images.h5")
    (task,) = models(tmp_path, FILTER)
    experiment = SavedIn8Bits(task.params, images, tmp_path / "scratch")
    with open_store(experiment.perturbed, PERTURBED) as store:
        train = store.images("train").astype(float)
    assert (train.min(), train.max()) == (0, 1)
    np.testing.assert_allclose(train * 255, np.rint(train * 255), atol=0.07)  # float16 has 11 bits
    row = measure(task.params, tmp_path / "scratch", images)
    assert row["status"] == "done"
    assert 0 <= row["test_accuracy"] <= 1


@pytest.mark.parametrize("key", ["perturb", "model"])
def test_all_else_is_as_in_the_study(key: str, tmp_path: Path) -> None:
    from privpipe.pipeline.grid import load_grid
    from studies.paper.readings import MODEL

    folder = Path(__file__).parents[3] / "studies" / "paper"
    readings = load_grid(folder / "readings.yaml", folder / "common.yaml")
    study = load_grid(folder / "params.yaml", folder / "common.yaml")
    for group in readings.groups:
        ours = readings.tasks(group)
        theirs = [task for task in study.tasks(group.removesuffix("-8bit")) if task.params.perturb.k == 5]
        by_run = {(task.params.key.seed, task.params.train.seed): task.params for task in theirs}
        for task in ours:
            same = by_run[task.params.key.seed, task.params.train.seed]
            assert getattr(task.params, key) == getattr(same, key)
    assert MODEL.without == ("attack",)
