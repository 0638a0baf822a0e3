"""Experiments on own images with a real key, as a new user types them: queued, applied, predicted with, published."""

import json
import re
import subprocess

import h5py
import pytest
from leaks import held
from leaks.find import Finder
from leaks.photos import photographs
from own_places import CLASSES, make_places, published, secrets
from projects import environment

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1200)]

SIZE, IMAGES, BLOCKS = 32, 90, (8, 16)  # smaller blocks show the image by design
SETTINGS = {
    "data.source": "folder",
    "data.image_size": SIZE,
    "data.n_train": "null",
    "data.n_val": 9,
    "data.n_test": 15,
    "perturb.method": "block_scramble",
    "perturb.k": 32,
    "perturb.scope": "image",
    "key.seed": "null",
    "model.arch": "baseline",
}
# Words of DVC and git that stand for trouble, in whatever case. What one Python package says to the authors of another,
# Python shows to no user; the tests ask for it.
WARNING = re.compile(
    r"(?!.*site-packages/.*DeprecationWarning: ).*(?:warning|error|failed|could not|missing).*", re.IGNORECASE
)


def test_experiments_keep_the_key_and_publish_no_original(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("experiments")
    places = make_places(root, photographs(IMAGES, SIZE, seed=11))
    owner = places.owner.folder
    options = " ".join(f"-S {name}={value}" for name, value in SETTINGS.items())
    places.run(f"dvc exp run {options} -S data.path={root / 'images'} perturb", owner)
    places.run(f"dvc remote add --default store {root / 'store'}", owner)
    places.run('git add --all && git commit --quiet -m "my images"', owner)
    fingerprint = places.owner.metrics("perturb")["key_fingerprint"]

    blocks = ",".join(map(str, BLOCKS))
    places.run(f"dvc exp run --queue -S 'perturb.k={blocks}'", owner)
    places.run("dvc exp run --run-all --jobs 2", owner)
    found = [row for branch in places.owner.json("exp", "show", "--json") for row in branch.get("experiments") or []]
    states = {row["revs"][0]["data"]["params"]["params.yaml"]["data"]["perturb"]["k"]: row["name"] for row in found}
    assert sorted(states) == list(BLOCKS)
    for k, name in states.items():
        places.run(f"dvc exp apply {name}", owner)
        assert places.owner.metrics("perturb")["key_fingerprint"] == fingerprint
        with h5py.File(owner / "data/perturbed.h5") as file:
            assert file.attrs["k"] == k
        predict = "privpipe predict --model models/model.safetensors --key data/private/key.json --json"
        places.run(f"{predict} new-image.jpg holiday/", owner)
        answers = json.loads(places.ran[-1][2])
        assert len(answers) == 3 and set(re.findall("|".join(CLASSES), json.dumps(answers)))
        places.run("dvc plots show", owner)
        places.run(f'git add --all && git commit --quiet --allow-empty -m "blocks of {k}"', owner)
    places.run("git push --quiet && dvc exp push origin --all-commits && dvc push", owner)

    clone = root / "clone"
    subprocess.run(["git", "clone", "--quiet", root / "hub", clone], check=True, env=environment())
    assert {path.name for path in clone.rglob("*") if path.suffix in (".png", ".jpg", ".html")} <= {
        path.name for path in (clone / "docs").rglob("*")
    } | {path.name for folder in clone.glob("stud*") for path in folder.rglob("*.png")} | {"tradeoff.png"}
    everything = {**published(places), **held.files_for_git(clone)}
    looked = held.look(everything, Finder(places.originals), [SIZE], secrets(places), places.known)
    assert looked.looked_at > 30
    assert (looked.originals, looked.pieces) == ([], [])
    warnings = [(command, line) for command, _, said in places.ran for line in said.splitlines() if WARNING.match(line)]
    assert warnings == []
