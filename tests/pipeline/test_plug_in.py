"""A package elsewhere adds a network and a score: the whole pipeline trains the one, and says the other everywhere."""

import csv
import io
from pathlib import Path

import pytest
from projects import Project, set_params

from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import load_bundle

pytestmark = pytest.mark.pipeline

NETWORK = """
from privpipe.layers import plain
from privpipe.networks.base import Network


class Narrow(Network):
    name = "narrow"
    halvings = 1

    def layers(self, sizes):
        return plain(sizes.channels, sizes.image_size, sizes.classes, (4, 4))
"""
SCORE = """
import numpy as np

from privpipe.scores.base import ImageScore


class Contrast(ImageScore):
    name = "contrast"
    label = "contrast kept"
    digits = 2

    @staticmethod
    def values(originals, images):
        return images.std(axis=(1, 2, 3)) / np.maximum(originals.std(axis=(1, 2, 3)), 1)

    def note(self, metrics):
        return "Contrast kept: the standard deviation over that of the original."
"""
ENTRIES = """[privpipe.networks]
narrow = foreign.narrow:Narrow
[privpipe.scores]
contrast = foreign.contrast:Contrast
"""
FILES = {
    "foreign/__init__.py": "",
    "foreign/narrow.py": NETWORK,
    "foreign/contrast.py": SCORE,
    "foreign-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n",
    "foreign-1.0.dist-info/entry_points.txt": ENTRIES,
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, in a folder that the commands of the test search."""
    for name, content in FILES.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(content)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


@pytest.mark.usefixtures("installed")
def test_the_pipeline_trains_a_foreign_network_and_says_a_foreign_score(project: Project) -> None:
    set_params(project, {"model.arch": "narrow"})
    project.dvc("repro", "--single-item", "--force", "code")
    ran = project.dvc("repro")
    for stage in ("train", "evaluate", "score", "report"):
        assert f"Running stage '{stage}'" in ran
    assert not any(f"Running stage '{stage}'" in ran for stage in ("download", "perturb", "leak"))
    assert "installed:foreign/narrow.py" in project.read(".code/train.txt").decode()
    with pytest.raises(PrivpipeError, match=r"a network must be one of .*; got 'narrow'"):  # not known to this process
        load_bundle(project.folder / "models/model.safetensors")
    privacy = project.metrics("privacy")
    assert privacy["l3_contrast"] == pytest.approx(1, abs=0.01) and privacy["mean_image_contrast"] < 1
    rows = csv.DictReader(io.StringIO(project.read("plots/privacy.csv").decode()))
    assert all(row["contrast"] for row in rows if row["ssim"])
    page = project.read("reports/index.html").decode()
    assert "<td>contrast kept</td>" in page and f"{privacy['l3_contrast']:.2f}" in page
    assert "Contrast kept: the standard deviation over that of the original." in page
    assert "Running stage" not in project.dvc("repro")
