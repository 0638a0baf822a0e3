"""A small experiment, from image files to a model, for the tests of what is done with one."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_experiment import SIZE, Experiment, write_image, write_params

from privpipe.data.images import RawImages
from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.files import write_json
from privpipe.networks.base import Architecture
from privpipe.nn.bundle import Bundle, save_bundle
from privpipe.nn.inference import measure
from privpipe.nn.models import build
from privpipe.owner.key import new_key, write_key
from privpipe.owner.perturbing import perturb_file
from privpipe.parameters import Perturb
from privpipe.perturb import METHODS
from privpipe.store import PERTURBED, open_store

SIGMA, NAMES = 40.0, ("ant", "bee", "cow")
COUNTS = {"train": 6, "val": 2, "test": 4}


@pytest.fixture(scope="session", autouse=True)
def key_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A key home of the tests, so that none touches that of whoever runs them; commands that they start inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home") / "keys"
        patch.setenv("PRIVPIPE_KEYS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def private(request: pytest.FixtureRequest) -> NDArray[np.uint8]:
    """Images of an owner, as many and as large as the test module says: uint8 (PRIVATE, SIZE, SIZE, 3)."""
    return draw(request.module.PRIVATE, request.module.SIZE, rng=np.random.default_rng(1)).images


@pytest.fixture(scope="module")
def public(request: pytest.FixtureRequest) -> NDArray[np.uint8]:
    """Other images of the same kind, uint8 (PUBLIC, SIZE, SIZE, 3)."""
    return draw(request.module.PUBLIC, request.module.SIZE, rng=np.random.default_rng(2)).images


@pytest.fixture(params=[0o555, 0o000], ids=["read-only", "closed"])
def forbidden(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder without permission; root, whom permissions do not bind, becomes nobody for the test."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, request.param)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield Path(name)
        os.seteuid(user)
        os.chmod(name, 0o700)


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., Experiment]:
    """Make an experiment with a network as it is before training: as good as any to tell inputs apart."""

    def make(method: str, scope: str = "dataset", arch: str = "baseline", seed: int | None = None) -> Experiment:
        rng = np.random.default_rng(5)
        k = 4 if METHODS[method].blocks else 3
        settings = Perturb(method=method, k=k, scope=scope, sigma=SIGMA if "noise" in method else 0.0)
        total = sum(COUNTS.values())
        raw = RawImages(rng.integers(0, 256, (total, SIZE, SIZE, 3), np.uint8), np.arange(total) % 3, NAMES)
        ends = np.cumsum(list(COUNTS.values()))
        rows = {name: np.arange(end - COUNTS[name], end) for name, end in zip(COUNTS, ends, strict=True)}
        write_images(tmp_path / "images.h5", raw, raw, rows)
        key = new_key(seed)
        write_key(tmp_path / "key.json", key)
        write_params(tmp_path / "params.yaml", settings)
        metrics = perturb_file(tmp_path / "images.h5", tmp_path / "perturbed.h5", settings, key)
        write_json(tmp_path / "metrics" / "perturb.json", metrics)
        with open_store(tmp_path / "perturbed.h5", PERTURBED) as store:
            header, train = store.header, torch.from_numpy(store.images("train"))
        architecture = Architecture(arch, SIZE, 3, len(NAMES), k if arch == "descrambler" else 1)
        model = build(architecture, torch.Generator().manual_seed(1))
        how = (header.method, header.k, header.scope, header.dtype, header.image_range)
        named = {"sigma": header.sigma, "key_fingerprint": header.key_fingerprint}
        bundle = Bundle(model, measure(train), architecture, NAMES, *how, **named)
        save_bundle(tmp_path / "model.safetensors", bundle)
        for i, row in enumerate(rows["test"]):
            write_image(tmp_path / "images" / f"{i}.png", raw.images[row])
        return Experiment(tmp_path, key, settings, raw.images[rows["test"]], bundle)

    return make
