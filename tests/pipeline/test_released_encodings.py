"""InstaHide through the same stages: encodings leave, a network is trained on them, they are attacked and scored."""

import json

import h5py
import pandas as pd
import pytest
from PIL import Image
from projects import Project, copy_project, set_params

from privpipe.nn.bundle import load_bundle
from privpipe.owner import keyhome
from privpipe.owner.key import Key
from privpipe.perturb.keystream import SECRET_BYTES
from privpipe.released import is_release, load_released

RELEASE = {"perturb.method": "instahide", "model.arch": "baseline", "train.epochs": 8}
OWNERS = Key(bytes(range(SECRET_BYTES)), None)
LARGER = {"data.n_train": 200, "data.public": 0.4}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small experiment with encodings in place of perturbed images, and a real key, the same one in every run."""
    project = copy_project(tmp_path_factory.mktemp("released") / "project")
    set_params(project, {**RELEASE, **LARGER, "key.seed": None})
    params = project.folder / "params.yaml"
    params.write_text(params.read_text().replace("\nperturb:\n", "\nperturb:\n  mixing: 2\n"))
    keyhome.keep(OWNERS)
    keyhome.project(project.folder).remember(OWNERS.fingerprint)
    project.dvc("repro")
    assert project.metrics("perturb")["key_fingerprint"] == OWNERS.fingerprint
    return project


def test_a_network_trained_on_encodings_classifies_images_as_they_are(released: Project) -> None:
    assert is_release(released.folder / "data/perturbed.h5")
    perturbed = released.metrics("perturb")
    assert perturbed["epsilon"] is None and perturbed["epsilon_spent"] is None and perturbed["release_digest"]
    assert released.metrics("evaluate")["test_accuracy"] > 0.15  # guessing: 0.1
    bundle = load_bundle(released.folder / "models/model.safetensors")
    assert bundle.architecture.folded and bundle.architecture.arch == "baseline"
    assert len(pd.read_csv(released.folder / "plots/training.csv")) == 8


def test_a_query_stays_at_home_and_needs_no_key(released: Project) -> None:
    with h5py.File(released.folder / "data/private/images.h5") as file:
        image = file["test/images"][0]
    Image.fromarray(image).save(released.folder / "out/query.png")
    (answer,) = json.loads(released.run("privpipe", "predict", "--json", "--top", "10", "out/query.png").stdout)
    assert sum(row["probability"] for row in answer["top"]) == pytest.approx(1, abs=1e-6)


def test_the_images_are_sought_and_scored_and_what_has_no_number_has_a_reason(released: Project) -> None:
    privacy = released.metrics("privacy")
    assert privacy["l1_attack"] == "unmixing" and privacy["l0_attack"] is None
    assert privacy["l1_ssim"] > privacy["other_image_ssim"]
    assert 0 < privacy["l1_key_recovery"] <= 1 and privacy["mean_image_ssim"] is not None
    assert privacy["identified_exactly"] is None and "continuum" in privacy["identified_exactly_why"]
    assert privacy["identified_at_most"] is None and "no theorem" in privacy["identified_at_most_why"]
    assert privacy["identified_at_least"] > privacy["identified_prior"]
    page = released.read("reports/index.html").decode()
    assert "unmixing" in page and "images that are in the release" in page
    assert "none: the signs fall with absolute values" in page and "epsilon =" not in page


def test_the_same_images_are_encoded_to_the_same_bytes(released: Project) -> None:
    before = load_released(released.folder / "data/perturbed.h5").digest
    released.dvc("repro", "--single-item", "--force", "perturb")
    assert load_released(released.folder / "data/perturbed.h5").digest == before
