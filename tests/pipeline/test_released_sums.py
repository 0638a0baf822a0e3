"""A release of a whole set through the same stages: from images to a model that classifies at home, and a page."""

import json

import h5py
import pandas as pd
import pytest
import torch
from PIL import Image
from projects import Project, copy_project, set_params
from test_boundary import windows

from privpipe.nn.bundle import load_bundle
from privpipe.nn.inference import predict
from privpipe.released import is_release, load_released

EPSILON = 30.0  # of a small set: what a few hundred images show beside the noise
RELEASE = {"perturb.method": "dp_statistics", "perturb.epsilon": EPSILON}
LARGER = {"data.n_train": 500, "data.public": 0.4}  # features are made of public images


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small experiment with a release in place of perturbed images, and a real key."""
    project = copy_project(tmp_path_factory.mktemp("released") / "project")
    set_params(project, {**RELEASE, **LARGER, "key.seed": None})
    project.dvc("repro")
    return project


def test_the_model_of_a_release_classifies_images_as_they_are(released: Project) -> None:
    assert is_release(released.folder / "data/perturbed.h5")
    evaluated = released.metrics("evaluate")
    assert evaluated["test_accuracy"] > 0.2 and evaluated["val_accuracy"] > 0.2  # guessing: 0.1
    assert released.metrics("perturb")["epsilon_spent"] == pytest.approx(EPSILON)
    assert released.metrics("descrambler")["not_measured"].startswith("model.arch is fitted")
    assert b"epoch,train_loss,val_loss,val_accuracy" in released.read("plots/training.csv")


def test_a_query_stays_at_home_and_needs_no_key(released: Project) -> None:
    with h5py.File(released.folder / "data/private/images.h5") as file:
        image = file["test/images"][0]
        names = [name.decode() for name in file.attrs["class_names"]]
    Image.fromarray(image).save(released.folder / "out/query.png")
    (answer,) = json.loads(released.run("privpipe", "predict", "--json", "--top", "10", "out/query.png").stdout)
    asked = load_bundle(released.folder / "models/model.safetensors")
    scores = predict(asked.model, asked.normalise, torch.from_numpy(image[None])).softmax(1)[0]
    assert {row["class"]: pytest.approx(row["probability"], abs=1e-6) for row in answer["top"]} == {
        name: float(score) for name, score in zip(names, scores, strict=True)
    }
    table = pd.read_csv(released.folder / "plots/confusion.csv")
    order = {name: place for place, name in enumerate(names)}
    rows = [(order[actual], order[predicted]) for actual, predicted in table.itertuples(index=False)]
    assert len(rows) == 60 and rows == sorted(rows)  # how many are taken for what, not which


def test_whose_image_it_is_has_a_bound_and_images_have_no_score(released: Project) -> None:
    privacy = released.metrics("privacy")
    assert privacy["identified_exactly"] is None and "bounded, not counted" in privacy["identified_exactly_why"]
    assert privacy["identified_prior"] <= privacy["identified_at_most"] <= 1
    assert privacy["identified_at_least"] <= privacy["identified_at_most"]
    assert privacy["l0_ssim"] is None and privacy["l3_ssim"] is None
    page = released.read("reports/index.html").decode()
    assert "dp_statistics, epsilon = 30" in page
    assert "No image was released: SSIM and the other scores" in page
    assert "(30, 1e-05)-differentially private" in page
    assert "Nothing, for this research key" not in page


def test_nothing_of_an_image_and_no_key_is_in_what_leaves(released: Project) -> None:
    content = released.read("data/perturbed.h5") + released.read("models/model.safetensors")
    assert bytes.fromhex(released.secret()) not in content and released.secret().encode() not in content
    assert not any(piece in content for piece in windows(released.folder / "data/private/images.h5"))
    assert load_released(released.folder / "data/perturbed.h5").about.settings.keys() == {"epsilon", "delta"}


def test_a_second_release_passes_the_budget_and_is_refused(released: Project) -> None:
    set_params(released, {"key.budget": 40.0})
    assert "Data and pipelines are up to date." in released.dvc("repro", "--single-item", "perturb")  # no other release
    set_params(released, {"perturb.epsilon": 40.0})
    refused = released.dvc("repro", "--single-item", "perturb", ok=False)
    assert "key.budget is 40. 1 releases came before" in refused
    set_params(released, {"perturb.epsilon": 10.0, "key.budget": 60.0})
    released.dvc("repro", "--single-item", "perturb")
    assert 30 < released.metrics("perturb")["epsilon_spent"] < 40


def test_experiments_compare_image_methods_and_releases(project: Project) -> None:
    project.dvc("exp", "run", *(f"--set-param={name}={value}" for name, value in RELEASE.items()))
    changed = project.json("metrics", "diff", "--json")["metrics/privacy.json"]
    assert changed["identified_at_most"]["new"] < changed["identified_exactly"]["old"] == 1.0
    assert project.dvc("plots", "show")
