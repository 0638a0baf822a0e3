"""The model file: what was saved comes back, bit for bit, and fits images like those of its training."""

import json
import os
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from model_files import HEADER, bundle
from safetensors import safe_open
from torch import Tensor, nn

from privpipe.errors import PrivpipeError
from privpipe.networks.base import Architecture, Network
from privpipe.networks.registry import NETWORKS
from privpipe.nn.bundle import load_bundle, save_bundle
from privpipe.nn.inference import predict
from privpipe.nn.models import build


@pytest.mark.parametrize("arch", NETWORKS)
def test_what_was_saved_is_loaded(tmp_path: Path, arch: str) -> None:
    before = bundle(arch)
    save_bundle(tmp_path / "model.safetensors", before)
    after = load_bundle(tmp_path / "model.safetensors")
    blank = {"model": None, "normalise": None}
    assert replace(after, **blank) == replace(before, **blank)
    assert list(after.model.state_dict()) == list(before.model.state_dict())
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(after.model.state_dict()[name], tensor)
        assert after.model.state_dict()[name].stride() == tensor.stride()
    images = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(after.normalise(images), before.normalise(images))
    assert torch.equal(predict(after.model, after.normalise, images), predict(before.model, before.normalise, images))


class Scaled(nn.Module):
    """Computes what it multiplies by, and does not keep it."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Usual(Network):
    """As somebody else writes one: torch's normalisation layer, which counts batches, and a buffer."""

    name = "usual"

    def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
        hidden = nn.Linear(sizes.channels * sizes.image_size**2, 8)
        norm, last = nn.BatchNorm1d(8), nn.Linear(8, sizes.classes)
        return OrderedDict(flatten=nn.Flatten(), hidden=hidden, norm=norm, scale=Scaled(), fc=last)


def test_a_network_of_others_comes_back_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS._found, "usual", Usual)
    architecture = Architecture("usual", 8, 3, 2)
    before = replace(bundle(), model=build(architecture, torch.Generator().manual_seed(0)), architecture=architecture)
    before.model.train()(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    save_bundle(tmp_path / "m", before)
    after = load_bundle(tmp_path / "m")
    images = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(predict(after.model, after.normalise, images), predict(before.model, before.normalise, images))


@pytest.mark.parametrize("arch", ["descrambler", "modern_three_layer"])
def test_a_loaded_model_can_be_trained_further(tmp_path: Path, arch: str) -> None:
    save_bundle(tmp_path / "m", bundle(arch))
    model = load_bundle(tmp_path / "m").model.train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(torch.zeros(1, 3, 8, 8)).sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
    assert len(before) == (4 if arch == "modern_three_layer" else 0)
    assert not any(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_the_same_model_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    for name in ("one.safetensors", "another name"):
        save_bundle(tmp_path / name, bundle())
        assert (tmp_path / name).read_bytes() == saved.read_bytes()
    save_bundle(tmp_path / "other", bundle(seed=1))
    assert (tmp_path / "other").read_bytes() != saved.read_bytes()


def test_another_process_writes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from privpipe.nn.bundle import load_bundle, save_bundle; "
        "save_bundle(sys.argv[2], load_bundle(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", code, saved, tmp_path / "again.bin"], check=True, env=environment)
    assert (tmp_path / "again.bin").read_bytes() == saved.read_bytes()


def test_nothing_but_the_model_is_in_it(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        assert set(file.metadata()) == {"privpipe"}
        about = json.loads(file.metadata()["privpipe"])
    assert about == {
        "format": "privpipe-model",
        "format_version": 2,
        "architecture": {"arch": "descrambler", "image_size": 8, "channels": 3, "classes": 2, "k": 4},
        "class_names": ["ant", "bee"],
        "method": "block_scramble",
        "k": 4,
        "scope": "dataset",
        "sigma": 12.5,
        "key_fingerprint": "0123456789abcdef",
        "salt": "",
        "digest": about["digest"],  # 32 hexadecimal digits: see `digest`
        "dtype": "uint8",
        "image_range": [0, 255],
    }


def test_images_like_those_of_training_fit() -> None:
    bundle().check_fits(HEADER, "perturbed.h5")


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("method", "none", "method 'block_scramble' != 'none'"),
        ("k", 2, "k 4 != 2"),
        ("scope", "image", "scope 'dataset' != 'image'"),
        ("sigma", 25.0, "sigma 12.5 != 25.0"),
        ("key_fingerprint", "ab", "fingerprint of the key '0123456789abcdef' != 'ab'"),
        ("salt", "ab", "salt '' != 'ab'"),
        ("dtype", "float16", "dtype 'uint8' != 'float16'"),
        ("image_range", (0.0, 1.0), r"image range \(0.0, 255.0\) != \(0.0, 1.0\)"),
        ("shape", (16, 16, 3), r"image shape \(8, 8, 3\) != \(16, 16, 3\)"),
        ("shape", (8, 16, 3), r"image shape \(8, 8, 3\) != \(8, 16, 3\)"),
        ("shape", (8, 8, 1), r"image shape \(8, 8, 3\) != \(8, 8, 1\)"),
        ("class_names", ("ant", "cow"), r"class names \('ant', 'bee'\) != \('ant', 'cow'\)"),
    ],
)
def test_images_of_another_perturbation_do_not_fit(field: str, value: Any, named: str) -> None:
    with pytest.raises(
        PrivpipeError,
        match=rf"not trained on images like those of p\.h5: {named} \(model != images\)\. Run `dvc repro`",
    ):
        bundle().check_fits(replace(HEADER, **{field: value}), "p.h5")


def test_all_that_differs_is_named() -> None:
    with pytest.raises(PrivpipeError, match=r"method '.*' != 'none'; k 4 != 1 \(model != images\)"):
        bundle().check_fits(replace(HEADER, method="none", k=1), "p.h5")
