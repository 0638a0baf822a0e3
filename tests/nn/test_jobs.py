"""From perturbed file to model to figures, on images so few that all is recomputed independently."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from privpipe.attacks.descrambler_init import inferred_weights, preparation, smooth_weights
from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import load_bundle, save_bundle
from privpipe.nn.data import load_split
from privpipe.nn.engine import Recipe
from privpipe.nn.evaluate_job import Evaluation, evaluate_file
from privpipe.nn.models import build
from privpipe.nn.train_job import history_rows, train_file
from privpipe.store import PERTURBED, RAW, Header, create, open_store

NAMES = ("dark", "light", "unseen")
COUNTS = {"train": 24, "val": 10, "test": 15}
HEADER = Header(PERTURBED, "none", 4, "dataset", NAMES, (0.0, 255.0), (8, 8, 3), "uint8")
RECIPE = Recipe(epochs=5, batch_size=8, lr=0.001, reg=0.001, seed=1)
MODERN = Recipe(epochs=5, batch_size=8, lr=0.02, reg=0.001, seed=1, style="modern")
CPU = torch.device("cpu")


def write(path: Path, header: Header = HEADER, counts: dict[str, int] = COUNTS) -> Path:
    """Dark and light images, alternating, under so much noise that some are mistaken; none of the third class."""
    rng = np.random.default_rng(0)
    with create(path, header, counts) as writer:
        for split, count in counts.items():
            labels = np.arange(count) % 2
            images = rng.integers(0, 200, (count, *header.shape)) + 20 * labels[:, None, None, None]
            writer.write(split, 0, images.astype(header.dtype), labels)
    return path


def read(path: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with h5py.File(path) as file:
        return file[split]["images"][:], file[split]["labels"][:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `perturbed.h5`, and the model and metrics that came of training on it."""
    folder = tmp_path_factory.mktemp("jobs")
    training = train_file(write(folder / "perturbed.h5"), "three_layer", RECIPE, "cpu", 1)
    save_bundle(folder / "model.safetensors", training.bundle)
    (folder / "train.json").write_text(json.dumps(training.metrics))
    return folder


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> Evaluation:
    return evaluate_file(folder / "perturbed.h5", folder / "model.safetensors", "cpu", 1)


def test_training_metrics(folder: Path) -> None:
    metrics = json.loads((folder / "train.json").read_text())
    assert set(metrics) == {"descrambler_confidence", "device", "precision", "final_train_loss"}
    assert metrics["descrambler_confidence"] is None
    assert metrics["device"] == "cpu, 1 threads"
    assert 0 < metrics["final_train_loss"] < 10


def test_speed_is_images_through_all_epochs_over_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privpipe.nn.train_job.Stopwatch.seconds", lambda self: 0.5)
    times = train_file(write(tmp_path / "p.h5"), "three_layer", RECIPE, "cpu", 1).times
    assert times == {"descrambler_seconds": 0.5, "seconds": 0.5, "images_per_second": 5 * 24 / 0.5}


@pytest.mark.parametrize("arch", ["baseline", "three_layer", "descrambler"])
@pytest.mark.parametrize(("recipe", "prefix"), [(RECIPE, ""), (MODERN, "modern_")])
def test_the_model_knows_its_images(tmp_path: Path, arch: str, recipe: Recipe, prefix: str) -> None:
    training = train_file(write(tmp_path / "p.h5"), arch, replace(recipe, epochs=1), "cpu", 1)
    bundle = training.bundle
    bundle.check_fits(HEADER, "p.h5")
    assert (bundle.architecture.arch, bundle.architecture.classes) == (prefix + arch, 3)
    assert bundle.architecture.k == (4 if arch == "descrambler" else 1)
    images = read(tmp_path / "p.h5", "train")[0].astype(np.float64)
    np.testing.assert_allclose(bundle.normalise.mean.numpy(), images.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(bundle.normalise.std.numpy(), images.std((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("choice", ["learned_smooth", "inferred"])
def test_the_descrambler_begins_with_what_was_asked_for(tmp_path: Path, choice: str) -> None:
    path = write(tmp_path / "p.h5", replace(HEADER, method="block_scramble"))
    training = train_file(path, "descrambler", replace(RECIPE, lr=1e-30), "cpu", 1, preparation(choice))
    images = torch.from_numpy(read(path, "train")[0])
    found, confidence = inferred_weights(images, 4)
    expected = found if choice == "inferred" else smooth_weights(images, 4)
    torch.testing.assert_close(training.bundle.model.get_submodule("bfc").get_parameter("weight"), expected)
    assert isinstance(training.times["descrambler_seconds"], float)  # in hundredths: 0.0 on a quick machine
    assert training.metrics["descrambler_confidence"] == (confidence if choice == "inferred" else None)
    save_bundle(tmp_path / "m", training.bundle)
    assert evaluate_file(path, tmp_path / "m", "cpu", 1).metrics["test_accuracy"] >= 0


def test_an_inferred_descrambler_needs_one_scramble_for_all_images(tmp_path: Path) -> None:
    path = write(tmp_path / "p.h5", replace(HEADER, method="block_scramble", scope="image"))
    with pytest.raises(PrivpipeError, match=r"model\.descrambler=inferred looks for the permutations"):
        train_file(path, "descrambler", RECIPE, "cpu", 1, preparation("inferred"))


def test_the_initial_weights_follow_from_the_seed(tmp_path: Path) -> None:
    bundle = train_file(write(tmp_path / "p.h5"), "baseline", replace(RECIPE, lr=1e-30), "cpu", 1).bundle
    expected = build(bundle.architecture, torch.Generator().manual_seed(RECIPE.seed)).state_dict()
    for name, tensor in bundle.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-20)


def test_the_curve_has_a_row_for_each_epoch(tmp_path: Path) -> None:
    training = train_file(write(tmp_path / "p.h5"), "three_layer", RECIPE, "cpu", 1)
    header, rows = history_rows(training.history)
    assert header == ["epoch", "train_loss", "val_loss", "val_accuracy"]
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[-1][1] == training.metrics["final_train_loss"]


def test_training_twice_gives_the_same_file(folder: Path, tmp_path: Path) -> None:
    save_bundle(tmp_path / "again", train_file(folder / "perturbed.h5", "three_layer", RECIPE, "cpu", 1).bundle)
    assert (tmp_path / "again").read_bytes() == (folder / "model.safetensors").read_bytes()


def forward(folder: Path, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Class scores by float64 NumPy alone: 3×3 correlation, normalisation, ReLU, 2×2 maximum, matrix product."""
    bundle = load_bundle(folder / "model.safetensors")
    weights = {name: tensor.double().numpy() for name, tensor in bundle.model.state_dict().items()}
    x = (images - bundle.normalise.mean.double().numpy()) / bundle.normalise.std.double().numpy()
    for layer, norm in (("conv1", "norm1"), ("conv2", "norm2")):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        x = np.einsum("nhwcij,ocij->nhwo", windows, weights[f"{layer}.weight"]) + weights[f"{layer}.bias"]
        if f"{norm}.weight" in weights:
            x = (x - weights[f"{norm}.running_mean"]) / np.sqrt(weights[f"{norm}.running_var"] + 1e-5)
            x = x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]
        x = np.maximum(x, 0)
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
    return x.transpose(0, 3, 1, 2).reshape(n, -1) @ weights["fc.weight"].T + weights["fc.bias"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_accuracy_and_loss_recomputed(folder: Path, evaluation: Evaluation, split: str) -> None:
    images, labels = read(folder / "perturbed.h5", split)
    scores = forward(folder, images)
    accuracy = (scores.argmax(1) == labels).mean()
    assert 0.5 < accuracy < 1 and len(set(scores.argmax(1).tolist())) > 1, "too easy or too hard to show a mistake"
    assert evaluation.metrics[f"{split}_accuracy"] == accuracy
    losses = np.log(np.exp(scores).sum(1)) - scores[np.arange(len(labels)), labels]
    assert evaluation.metrics[f"{split}_loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_the_modern_recipe_from_file_to_figures(folder: Path, tmp_path: Path) -> None:
    path = folder / "perturbed.h5"
    for name in ("model.safetensors", "again"):
        training = train_file(path, "three_layer", MODERN, "cpu", 1)
        save_bundle(tmp_path / name, training.bundle)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    metrics = evaluate_file(path, tmp_path / "model.safetensors", "cpu", 1).metrics
    last = training.history[-1]
    assert (metrics["val_accuracy"], metrics["val_loss"]) == (last.val_accuracy, last.val_loss)
    for split in ("val", "test"):
        images, labels = read(path, split)
        scores = forward(tmp_path, images)
        assert len(set(scores.argmax(1).tolist())) > 1, "too easy or too hard to show a mistake"
        assert metrics[f"{split}_accuracy"] == (scores.argmax(1) == labels).mean()
        losses = np.log(np.exp(scores).sum(1)) - scores[np.arange(len(labels)), labels]
        assert metrics[f"{split}_loss"] == pytest.approx(losses.mean(), rel=1e-4)


@pytest.mark.parametrize("arch", ["baseline", "descrambler"])
def test_the_residual_networks_are_evaluated_as_they_were_trained(folder: Path, tmp_path: Path, arch: str) -> None:
    training = train_file(folder / "perturbed.h5", arch, replace(MODERN, epochs=2), "cpu", 1)
    save_bundle(tmp_path / "m", training.bundle)
    metrics, last = evaluate_file(folder / "perturbed.h5", tmp_path / "m", "cpu", 1).metrics, training.history[-1]
    assert metrics["val_accuracy"] == last.val_accuracy
    assert metrics["val_loss"] == pytest.approx(last.val_loss, rel=1e-6)


@pytest.mark.parametrize("arch", ["baseline", "three_layer", "descrambler"])
@pytest.mark.parametrize("recipe", [RECIPE, MODERN])
def test_blank_images_train_a_model_that_can_be_used(tmp_path: Path, arch: str, recipe: Recipe) -> None:
    """Nothing varies, and the last of three batches has one image."""
    path, counts = tmp_path / "p.h5", {"train": 17, "val": 2, "test": 2}
    with create(path, HEADER, counts) as writer:
        for split, count in counts.items():
            writer.write(split, 0, np.full((count, *HEADER.shape), 7, np.uint8), np.arange(count) % 2)
    training = train_file(path, arch, replace(recipe, epochs=2), "cpu", 1)
    save_bundle(tmp_path / "m", training.bundle)
    metrics = evaluate_file(path, tmp_path / "m", "cpu", 1).metrics
    assert all(np.isfinite(value) for value in metrics.values())
    assert metrics["test_accuracy"] == 0.5  # one answer for all


@pytest.mark.parametrize("progress", [True, False])
def test_on_a_terminal_bars_show_unless_switched_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, progress: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    path = write(tmp_path / "p.h5", replace(HEADER, method="block_scramble"))
    train_file(
        path, "descrambler", replace(RECIPE, epochs=1), "cpu", 1, preparation("learned_smooth", progress), progress
    )
    assert bool(capsys.readouterr().err) == progress


def test_evaluation_metrics(evaluation: Evaluation) -> None:
    metrics = evaluation.metrics
    assert list(metrics) == [
        "val_accuracy",
        "val_loss",
        "test_accuracy",
        "test_accuracy_low",
        "test_accuracy_high",
        "test_loss",
    ]
    right = int((evaluation.actual == evaluation.predicted).sum())
    interval = binomtest(right, COUNTS["test"]).proportion_ci(method="wilson")
    assert metrics["test_accuracy_low"] == pytest.approx(interval.low)
    assert metrics["test_accuracy_high"] == pytest.approx(interval.high)


def test_predictions_are_those_of_the_test_images(folder: Path, evaluation: Evaluation) -> None:
    images, labels = read(folder / "perturbed.h5", "test")
    assert evaluation.actual.tolist() == labels.tolist()
    assert evaluation.predicted.tolist() == forward(folder, images).argmax(1).tolist()
    assert evaluation.class_names == NAMES


def test_pairs_and_classes() -> None:
    evaluation = Evaluation({}, np.array([0, 0, 0, 1, 1]), np.array([0, 1, 0, 1, 2]), NAMES)
    assert list(evaluation.pairs()) == [
        ("dark", "dark"),
        ("dark", "light"),
        ("dark", "dark"),
        ("light", "light"),
        ("light", "unseen"),
    ]
    assert list(evaluation.by_class()) == [("dark", 2 / 3, 3), ("light", 1 / 2, 2), ("unseen", None, 0)]


@pytest.mark.parametrize("split", ["train", "val"])
def test_training_needs_images(tmp_path: Path, split: str) -> None:
    path = write(tmp_path / "p.h5", counts={**COUNTS, split: 0})
    with pytest.raises(PrivpipeError, match=rf"p\.h5 has no {split} images\. Raise data\.n_{split} and perturb again"):
        train_file(path, "three_layer", RECIPE, "cpu", 1)


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_needs_images(folder: Path, tmp_path: Path, split: str) -> None:
    path = write(tmp_path / "p.h5", counts={**COUNTS, split: 0})
    with pytest.raises(PrivpipeError, match=rf"has no {split} images"):
        evaluate_file(path, folder / "model.safetensors", "cpu", 1)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_a_split_is_loaded_as_stored(tmp_path: Path, dtype: str) -> None:
    path = write(tmp_path / "p.h5", replace(HEADER, dtype=dtype))
    with open_store(path, PERTURBED) as store:
        found = load_split(store, "val", CPU)
    images, labels = found.images, found.labels
    expected_images, expected_labels = read(path, "val")
    assert images.dtype == getattr(torch, dtype)
    assert labels.dtype == torch.int64
    assert np.array_equal(images.numpy(), expected_images)
    assert np.array_equal(labels.numpy(), expected_labels)


def test_images_of_another_perturbation_are_refused(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "p.h5", replace(HEADER, method="block_scramble"))
    with pytest.raises(
        PrivpipeError, match=r"not trained on images like those of .*p\.h5: method 'none' != 'block_scr"
    ):
        evaluate_file(path, folder / "model.safetensors", "cpu", 1)


def test_the_cloud_refuses_raw_images(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "images.h5", replace(HEADER, kind=RAW))
    with pytest.raises(PrivpipeError, match="must be a privpipe-perturbed file"):
        train_file(path, "three_layer", RECIPE, "cpu", 1)
    with pytest.raises(PrivpipeError, match="must be a privpipe-perturbed file"):
        evaluate_file(path, folder / "model.safetensors", "cpu", 1)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (replace(HEADER, shape=(8, 12, 3)), r"has images of shape \(8, 12, 3\); they must be square"),
        (replace(HEADER, shape=(6, 6, 3)), "must be a multiple of 4; got 6"),
        (replace(HEADER, k=3), "block size must divide the image size 8; got 3"),
        (replace(HEADER, k=0), "the k of a network must be .* at least 1; got 0"),
    ],
)
def test_images_that_no_network_takes(tmp_path: Path, header: Header, message: str) -> None:
    with pytest.raises(PrivpipeError, match=message):
        train_file(write(tmp_path / "p.h5", header), "descrambler", RECIPE, "cpu", 1)


def test_jobs_leave_the_settings_of_torch_as_they_were(folder: Path) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    evaluate_file(folder / "perturbed.h5", folder / "model.safetensors", "cpu", before[0] + 1)
    with pytest.raises(PrivpipeError):
        train_file(folder / "missing.h5", "baseline", RECIPE, "cpu", before[0] + 1)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
