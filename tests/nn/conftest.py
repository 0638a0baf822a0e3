"""A model file that all tests of a module share."""

from pathlib import Path

import pytest
from model_files import bundle

from privpipe.nn.bundle import save_bundle


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    save_bundle(path, bundle())
    return path
