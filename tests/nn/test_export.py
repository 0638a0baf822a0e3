"""The ONNX file against torch: the same probabilities, and nothing written where they would not be the same."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from privpipe.data.image_files import read_image
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.networks.base import Architecture
from privpipe.nn import export
from privpipe.nn.bundle import Bundle, load_bundle, save_bundle
from privpipe.nn.inference import Normalisation, predict
from privpipe.nn.models import build
from privpipe.owner.key import new_key
from privpipe.perturb import perturbation_called
from privpipe.reading import Reading
from privpipe.store import PERTURBED, open_store

Make = Callable[..., Any]
CASES = [
    ("none", "baseline"),
    ("none", "three_layer"),
    ("block_scramble", "descrambler"),
    ("block_scramble", "baseline"),
    ("random_filter", "baseline"),  # float16
    ("gaussian_noise", "three_layer"),  # float16
]


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("method", "arch"), CASES)
def test_perturbed_rows_get_the_probabilities_of_torch(experiment: Make, method: str, arch: str) -> None:
    made = experiment(method, arch=arch)
    target = made / "model.onnx"
    assert export.export_file(made / "model.safetensors", target) < 1e-5
    onnx.checker.check_model(target, full_check=True)
    with open_store(made / "perturbed.h5", PERTURBED) as store:
        images = np.concatenate([store.images(split) for split in ("train", "val", "test")])
    run = session(target)
    expected = predict(made.bundle.model, made.bundle.normalise, torch.from_numpy(images)).softmax(1).numpy()
    for count in (1, 2, len(images)):  # any number of images
        found = run.run(["probabilities"], {"images": images[:count].astype(np.float32)})[0]
        assert found.shape == (count, 3)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:count], atol=1e-5)


def test_the_descrambler_layer_is_exported_as_it_is(experiment: Make) -> None:
    """With weights that are far from symmetric, a wrong order of pixels, blocks or colours cannot pass."""
    made = experiment("block_scramble", arch="descrambler")
    bundle = load_bundle(made / "model.safetensors")
    weight = bundle.model.get_submodule("bfc").get_parameter("weight")
    with torch.no_grad():
        weight.zero_()
        weight[:, torch.arange(16), torch.arange(16).roll(1)] = torch.arange(1.0, 5.0)[:, None]
    save_bundle(made / "other.safetensors", bundle)
    export.export_file(made / "other.safetensors", made / "model.onnx")
    images = made.images.astype(np.float32)
    found = session(made / "model.onnx").run(None, {"images": images})[0]
    expected = predict(bundle.model, bundle.normalise, torch.from_numpy(images)).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1


def modern(made: Any, arch: str, trained: bool = True) -> Bundle:
    """The experiment's model with another network, its normalisation layers as after training or as before."""
    architecture = Architecture(arch, 8, 3, 3, 1 if arch in ("modern_baseline", "modern_three_layer") else 4)
    model = build(architecture, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and trained:
            for name, values in layer.state_dict().items():
                low = 0.5 if name in ("weight", "running_var") else -0.5
                nn.init.uniform_(values, low, low + 1, generator=generator)
    return replace(made.bundle, model=model, architecture=architecture)


@pytest.mark.parametrize("arch", ["modern_baseline", "modern_three_layer", "modern_descrambler", "adaptation", "vit"])
def test_networks_that_are_not_trained_here_get_the_probabilities_of_torch(experiment: Make, arch: str) -> None:
    made = experiment("block_scramble")
    bundle = modern(made, arch)
    save_bundle(made / "modern.safetensors", bundle)
    assert export.export_file(made / "modern.safetensors", made / "model.onnx") < 1e-5
    run = session(made / "model.onnx")
    images = made.images.astype(np.float32)
    expected = predict(bundle.model, bundle.normalise, torch.from_numpy(made.images)).softmax(1).numpy()
    for count in (1, len(images)):
        np.testing.assert_allclose(run.run(None, {"images": images[:count]})[0], expected[:count], atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01
    assert run.get_modelmeta().custom_metadata_map["arch"] == arch


def test_statistics_that_are_not_exported_are_noticed(experiment: Make) -> None:
    made = experiment("block_scramble")
    trained, fresh = (modern(made, "modern_three_layer", trained) for trained in (True, False))
    assert export.verify(trained, export.to_onnx(trained)) < 1e-5
    with pytest.raises(PrivpipeError, match="disagrees with torch"):
        export.verify(trained, export.to_onnx(fresh))


def test_it_says_what_it_is(experiment: Make) -> None:
    made = experiment("block_scramble", "image", arch="descrambler")
    export.export_file(made / "model.safetensors", made / "model.onnx")
    run = session(made / "model.onnx")
    about = run.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == ["ant", "bee", "cow"]
    assert (about["method"], about["k"], about["scope"]) == ("block_scramble", "4", "image")
    assert (about["dtype"], json.loads(about["image_range"]), about["arch"]) == ("uint8", [0, 255], "descrambler")
    assert (float(about["sigma"]), about["key_fingerprint"]) == (0, made.key.fingerprint)
    assert (about["input_name"], json.loads(about["input_shape"])) == ("images", ["N", 8, 8, 3])
    assert (about["output_name"], json.loads(about["output_shape"])) == ("probabilities", ["N", 3])
    assert json.loads(about["channels"]) == ["red", "green", "blue"]
    assert f"perturbed by block_scramble with the key {made.key.fingerprint}" in about["prepare"]
    statistics = json.loads(about["statistics"])
    with open_store(made / "perturbed.h5", PERTURBED) as store:
        values = store.images("train").astype(float)
    assert statistics["mean"] == pytest.approx(values.mean(axis=(0, 1, 2)))
    assert statistics["std"] == pytest.approx(values.std(axis=(0, 1, 2)))
    noisy = experiment("gaussian_noise")
    export.export_file(noisy / "model.safetensors", noisy / "model.onnx")
    assert float(session(noisy / "model.onnx").get_modelmeta().custom_metadata_map["sigma"]) == 40
    (given,), (result,) = run.get_inputs(), run.get_outputs()
    assert (given.name, given.shape, given.type) == ("images", ["N", 8, 8, 3], "tensor(float)")
    assert (result.name, result.shape, result.type) == ("probabilities", ["N", 3], "tensor(float)")


def test_features_are_made_of_images_of_another_shape() -> None:
    method = perturbation_called("neuracrypt")(32, 4, "image", 0.0, new_key(0).stream)
    shape = method.output_shape(3)
    assert shape == (8, 8, 64)
    model = build(architecture := Architecture("baseline", shape[0], shape[2], 2, 4))
    normalise = Normalisation(torch.zeros(64), torch.ones(64))
    how = ("neuracrypt", 4, "image", str(method.dtype), method.image_range, 0.0, new_key(0).fingerprint)
    bundle = Bundle(model, normalise, architecture, ("a", "b"), *how, settings=method.settings, image_shape=(32, 32, 3))
    about = export.metadata(bundle)
    assert "Lanczos to 32x32; perturbed by neuracrypt with the key" in about["prepare"]
    assert json.loads(about["image_shape"]) == [32, 32, 3]
    assert (json.loads(about["input_shape"]), json.loads(about["channels"])) == (["N", 8, 8, 64], [])
    images = draw(2, 32, rng=np.random.default_rng(0)).images
    run = onnxruntime.InferenceSession(export.to_onnx(bundle), providers=["CPUExecutionProvider"])
    found = run.run(None, {"images": method.apply(images).astype(np.float32)})[0]
    assert found.shape == (2, 2)


def test_a_model_of_encodings_takes_images_as_they_are(experiment: Make) -> None:
    made = experiment("none")
    about = export.metadata(replace(made.bundle, method="instahide"))
    assert (
        "Lanczos to 8x8; not perturbed (privpipe perturb --format npy, with perturb.method: none); float32"
        in (about["prepare"])
    )
    assert json.loads(about["image_shape"]) == [8, 8, 3]


@pytest.mark.parametrize("arch", ["baseline", "vit"])
def test_a_model_of_encodings_gets_the_probabilities_of_torch(experiment: Make, arch: str) -> None:
    """Also of an image of mid-grey, which has no contrast to divide by."""
    made = experiment("none")
    architecture = Architecture(arch, 8, 3, 3, 4 if arch == "vit" else 1, folded=True)
    model = build(architecture, torch.Generator().manual_seed(1))
    grey = Normalisation(torch.full((3,), 127.5), torch.full((3,), 127.5))
    bundle = replace(made.bundle, model=model, normalise=grey, architecture=architecture, method="instahide")
    save_bundle(made / "folded.safetensors", bundle)
    assert export.export_file(made / "folded.safetensors", made / "model.onnx") < 1e-5
    images = made.images.astype(np.float32)
    images[0] = 127.5
    expected = predict(model, grey, torch.from_numpy(images)).softmax(1).numpy()
    for count in (1, len(images)):
        found = session(made / "model.onnx").run(None, {"images": images[:count]})[0]
        np.testing.assert_allclose(found, expected[:count], atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.Conv2d(3, 3, 1), "the layer Conv2d(3, 3, kernel_size=(1, 1), stride=(1, 1))"),
        (nn.Conv2d(3, 3, 3, padding=2, dilation=2), "the layer Conv2d(3, 3, "),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), "padding_mode=circular)"),
        (nn.MaxPool2d(3, 1, 1), "the layer MaxPool2d(kernel_size=3, stride=1, padding=1"),
        (nn.BatchNorm2d(3, affine=False), "affine=False"),
        (nn.LayerNorm((8, 8)), "the layer LayerNorm((8, 8)"),
        (nn.Dropout(), "the layer Dropout("),
        (nn.Linear(8, 8), "do not fit together in ONNX"),
    ],
)
def test_layers_that_ours_do_not_have_are_refused_by_name(experiment: Make, layer: nn.Module, named: str) -> None:
    made = experiment("none")
    model = nn.Sequential(layer, *made.bundle.model)
    with pytest.raises(PrivpipeError, match=re.escape(named)):
        export.to_onnx(replace(made.bundle, model=model))


def test_a_model_that_was_fitted_to_a_release_is_refused_by_name() -> None:
    architecture = Architecture("fitted", 32, 3, 2, shapes=(("head.weights", (2, 5)),))
    normalise = Normalisation(torch.zeros(3), torch.ones(3))
    how = ("dp_statistics", 1, "dataset", "uint8", (0.0, 255.0))
    bundle = Bundle(build(architecture), normalise, architecture, ("a", "b"), *how)
    with pytest.raises(PrivpipeError) as caught:
        export.to_onnx(bundle)
    assert str(caught.value) == (
        "a model that was fitted to the numbers of dp_statistics is no network, and cannot be written as ONNX. Use "
        "`privpipe predict`."
    )


def test_the_documents_have_every_key_and_the_resampling_is_as_they_say(experiment: Make, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/serving.md").read_text()
    listed = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \| ", page, re.MULTILINE)))
    made = experiment("none")
    about = export.metadata(replace(made.bundle, reading=Reading(channels=("2", "1")).describe()))
    assert set(about) <= set(listed) and json.loads(about["channels"]) == ["2", "1"]
    assert about["crop"] == "centre square"
    values = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "wide.png")
    filters = Image.Resampling[about["resampling"].upper()]
    expected = Image.fromarray(values).resize((8, 8), filters, (10, 0, 50, 40), reducing_gap=3)
    assert np.array_equal(read_image(tmp_path / "wide.png", 8), np.array(expected))


def test_the_same_model_gives_the_same_bytes(experiment: Make) -> None:
    made = experiment("none")
    for name in ("a.onnx", "b.onnx"):
        export.export_file(made / "model.safetensors", made / name)
    assert (made / "a.onnx").read_bytes() == (made / "b.onnx").read_bytes()


@pytest.mark.parametrize("wrong", [0.001, float("nan")])
def test_nothing_is_written_where_the_export_disagrees(
    experiment: Make, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    made = experiment("none")
    right = export.predict
    monkeypatch.setattr(export, "predict", lambda *args: right(*args) * (1 + wrong) + torch.tensor([0, 0, wrong]))
    with pytest.raises(PrivpipeError, match=r"disagrees with torch: a probability differs by .* Nothing was written"):
        export.export_file(made / "model.safetensors", made / "model.onnx")
    assert not list(made.folder.glob("*.onnx*"))


def test_a_missing_model_and_an_impossible_target(experiment: Make) -> None:
    made = experiment("none")
    with pytest.raises(PrivpipeError, match="is missing"):
        export.export_file(made / "missing.safetensors", made / "model.onnx")
    with pytest.raises(PrivpipeError, match="cannot write"):
        export.export_file(made / "model.safetensors", made / "key.json" / "model.onnx")
