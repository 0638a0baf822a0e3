"""The code of docs/extending.md runs, and its method and attack are what they say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.suite import suite
from privpipe.perturb import KeyStream
from privpipe.scores.base import Attempt
from privpipe.scores.privacy import score_matching

PAGE = Path(__file__).parents[1] / "docs/extending.md"
SIZE = 16


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page's code defines, run from top to bottom."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
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


def test_the_attack_answers_with_the_mean_of_public_images(page: dict[str, Any]) -> None:
    public = np.random.default_rng(2).integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)
    view = AdversaryView("pixelate", 4, "dataset", 0.0, public[:2], public[2:4], public)
    (record,) = suite(view, [page["MeanImage"]()])
    assert record.level == "L1" and record.images is not None
    np.testing.assert_allclose(record.images[1], public.mean(axis=0), rtol=1e-6)


def test_the_page_names_what_a_method_can_say() -> None:
    """Members of the table are those of the contract."""
    from privpipe.perturb import Perturbation

    rows = re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(named) > 15 and all(hasattr(Perturbation, name) for name in named)
