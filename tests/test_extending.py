"""The code of docs/extending.md runs, and its method, attack, network and score are what they say."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.records import Record
from privpipe.attacks.suite import suite
from privpipe.errors import PrivpipeError
from privpipe.networks.base import Architecture, Network
from privpipe.networks.registry import NETWORKS
from privpipe.nn.data import Resident
from privpipe.nn.engine import Recipe
from privpipe.nn.inference import measure
from privpipe.nn.models import build
from privpipe.nn.training import train
from privpipe.params import check_params
from privpipe.perturb import KeyStream, Perturbation
from privpipe.scores.base import Attempt, Score
from privpipe.scores.privacy import metrics, score_images, score_matching, score_record
from privpipe.scores.registry import SCORES

PAGE = Path(__file__).parents[1] / "docs/extending.md"
SIZE = 16


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page's code defines, run from top to bottom."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_attack_with_pairs_finds_the_key(page: dict[str, Any]) -> None:
    sure = [run for run in page["runs"] if run.level == "L2" and (run.confidence or 0) > 0.9]
    assert sure and all(run.problem is None for run in sure)


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_the_method_is_undone_with_its_key_and_linked_without(page: dict[str, Any], scope: str) -> None:
    images = np.random.default_rng(1).integers(0, 256, (30, SIZE, SIZE, 3), np.uint8)
    method = page["BlockNegative"](SIZE, 4, scope, 0.0, KeyStream(bytes(32)))
    perturbed = method.apply(images)
    keys = method.dataset_key if scope == "dataset" else method.image_keys(images)
    np.testing.assert_array_equal(method.invert(perturbed, keys), images)
    changed = (perturbed != images).mean()
    assert 0.3 < changed < 0.7
    assert method.key_similarity(keys, keys).pixels == 1
    attempt = Attempt(images, np.zeros(len(images), int), lambda shown: np.zeros(len(shown), int))
    assert score_matching(perturbed, attempt, method).scores["reidentified_top1"] == 1


def test_the_method_with_a_setting_obeys_it(page: dict[str, Any]) -> None:
    kind = page["SomeBlocksNegative"]
    most, all_blocks = (kind(SIZE, 4, stream=KeyStream(bytes(32)), fraction=fraction) for fraction in (0.75, 1.0))
    assert most.dataset_key[:12].any() and not most.dataset_key[12:].any() and all_blocks.dataset_key[12:].any()
    (problem,) = kind.setting_problems(SIZE, 4, 0.0, {"fraction": 2})
    assert "must be a number from 0 up to 1" in problem


def test_the_attack_answers_with_the_mean_of_public_images(page: dict[str, Any]) -> None:
    public = np.random.default_rng(2).integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)
    view = AdversaryView("pixelate", 4, "dataset", 0.0, public[:2], public[2:4], public)
    (record,) = suite(view, [page["MeanImage"]()])
    assert record.level == "L1" and record.images is not None
    np.testing.assert_array_equal(record.images[1], np.rint(public.mean(axis=0)))  # records hold whole levels


def test_the_network_is_trained_where_its_demands_are_met(
    page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS._found, "perceptron", page["Perceptron"])
    values = YAML(typ="safe", pure=True).load(PAGE.parents[1] / "params.yaml")
    values["model"]["arch"] = "perceptron"
    assert check_params(values).model.arch == "perceptron"
    values["perturb"]["scope"] = "image"
    with pytest.raises(
        PrivpipeError, match=r"^model\.arch=perceptron learns .*; got image\. Set perturb\.scope=dataset"
    ):
        check_params(values)
    model = build(Architecture("perceptron", SIZE, 3, 2), torch.Generator().manual_seed(0))
    images = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (40, SIZE, SIZE, 3), np.uint8))
    images[:20] //= 4  # the dark ones are of class 0
    data = Resident(images, torch.arange(40) // 20)
    history = train(model, measure(images), data, data, Recipe(5, 8, 0.01, 0.0, 0), progress=False)
    assert history[-1].val_accuracy == 1


def test_a_scramble_costs_the_network_nothing(page: dict[str, Any]) -> None:
    """Moved pixels and weights that moved with them give the same scores."""
    layers = page["Perceptron"]().layers(Architecture("perceptron", 4, 1, 2))
    image, order = torch.rand(1, 16), torch.randperm(16)
    hidden = layers["hidden"]
    expected = hidden(image)
    hidden.weight.data = hidden.weight.data[:, order]
    torch.testing.assert_close(hidden(image[:, order]), expected)


def test_the_score_is_lowest_for_the_best_attack(page: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES._found, "distance", page["Distance"])
    images = np.full((4, SIZE, SIZE, 3), 100, np.uint8)
    attempt = Attempt(images, np.zeros(4, int), lambda shown: np.zeros(len(shown), int))
    rows = [
        score_record(
            Record("L0", str(by), 0, 9, 1.0, None, images + np.uint8(by)),
            attempt,
            lambda shown: score_images(replace(attempt, images=shown)),
        )
        for by in (30, 7)
    ]
    assert metrics(rows, {}, {}, {})["l0_distance"] == 7


SAID = {"A method": Perturbation, "A network": Network, "A score": Score}


@pytest.mark.parametrize("section", SAID)
def test_the_page_names_what_can_be_said(section: str) -> None:
    """Members of the tables are those of the contracts."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(named) > 4 and all(hasattr(SAID[section], name) for name in named)
