"""What crosses the boundary: pushes, pulls, and training by somebody who never held an image or a key."""

import json
import re
import subprocess
from pathlib import Path

import h5py
import pytest
from PIL import Image
from projects import Project, environment, set_params
from safetensors import safe_open

pytestmark = pytest.mark.pipeline

SHOWN = ("plots/examples.png", "plots/reconstructions.png", "reports/index.html")


def windows(path: Path, length: int = 256) -> list[bytes]:
    """Pieces of raw images, long enough that they occur nowhere by accident."""
    with h5py.File(path) as file:
        rows = [file[split]["images"][i].tobytes() for split in ("train", "val", "test") for i in range(10)]
    pieces = [row[start : start + length] for row in rows for start in (0, len(row) // 3, 2 * len(row) // 3)]
    assert {len(piece) for piece in pieces} == {length}
    return pieces


def salts(project: Project) -> dict[str, str]:
    """The salt of every output that is raw, or made of raw images, and is not uploaded itself."""
    found = {}
    for path in (
        "data/private/images.h5",
        "data/public.h5",
        "data/private/leaked.h5",
        "data/private/reconstructions.h5",
    ):
        with h5py.File(project.folder / path) as file:
            salt = file.attrs["salt"]
            found[path] = salt if isinstance(salt, str) else bytes(salt).decode()
    with safe_open(project.folder / "models/reference_classifier.safetensors", "np") as file:
        found["models/reference_classifier.safetensors"] = json.loads(file.metadata()["privpipe"])["salt"]
    for path in SHOWN[:2]:
        with Image.open(project.folder / path) as image:
            image.load()
            found[path] = image.text["Comment"].rstrip(".")
    found["data/private/summary.json"] = json.loads(project.read("data/private/summary.json"))["salt"].rstrip(".")
    found[SHOWN[2]] = project.read(SHOWN[2]).decode().splitlines()[-1].split()[1].rstrip(".")
    return found


def test_push_uploads_no_raw_image_and_no_key_and_the_cloud_trains(project: Project, tmp_path: Path) -> None:
    remote, cloud = tmp_path / "remote", Project(tmp_path / "cloud")
    set_params(project, {"key.seed": None})  # a real key: a research key is known to all
    project.dvc("repro")
    project.dvc("remote", "add", "--default", "store", str(remote))
    project.commit("remote")
    project.dvc("push")
    secret = project.secret()
    pieces = [secret.encode(), bytes.fromhex(secret), *windows(project.folder / "data/private/images.h5")]
    for path, salt in salts(project).items():
        assert re.fullmatch("[0-9a-f]{32}", salt), path
    assert len(set(salts(project).values())) == 9
    for path in (*SHOWN, "data/private/summary.json"):
        assert len(project.read(path)) % (64 << 10) == 0
    uploaded = [path.read_bytes() for path in remote.rglob("*") if path.is_file()]
    assert project.read("data/perturbed.h5") in uploaded
    assert not any(piece in content for piece in pieces for content in uploaded)

    subprocess.run(["git", "clone", "--quiet", project.folder, cloud.folder], check=True, env=environment())
    cloud.dvc("pull", "data/perturbed.h5")
    assert not (cloud.folder / "data/private").exists()
    out = cloud.dvc("repro", "--allow-missing", "--force", "--single-item", "train")
    assert "Running stage 'train'" in out
    assert cloud.read("models/model.safetensors") == project.read("models/model.safetensors")
    cloud.edit("params.yaml", "lr: 0.001", "lr: 0.002")
    out = cloud.dvc("repro", "--allow-missing", "train")
    assert "Running stage 'train'" in out
    assert "Running stage 'perturb'" not in out and "Running stage 'download'" not in out
    assert cloud.read("models/model.safetensors") != project.read("models/model.safetensors")
    held = [path.read_bytes() for path in cloud.folder.rglob("*") if path.is_file()]
    assert not any(piece in content for piece in pieces for content in held)
