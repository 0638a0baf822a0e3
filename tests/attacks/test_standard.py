"""The standard suite: every attack of privpipe is in its newest version, and its budget is what the attacks spend."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.network import HELD_OUT, MOST_HELD_OUT, RestorationNetwork, _Trainer
from privpipe.attacks.registry import ATTACKS
from privpipe.attacks.standard import NEWEST, SUITES, V1, network_steps


def test_the_newest_version_has_every_attack_of_privpipe() -> None:
    """A new attack makes a new version: put its name into that, and leave the versions before it as they are."""
    ours = {name for name, kind in ATTACKS.items() if kind.__module__.startswith("privpipe.")}
    assert ours == NEWEST.attacks


def test_versions_are_numbered_and_only_grow() -> None:
    assert [suite.version for suite in SUITES] == list(range(1, len(SUITES) + 1))
    assert all(before.attacks <= after.attacks for before, after in pairwise(SUITES))


def test_a_title_names_what_is_not_of_the_suite() -> None:
    assert V1.title == "privpipe-attacks v1"
    assert V1.with_others(["as_is", "wiener"]) == V1.title
    assert V1.with_others(["wiener", "mine", "as_is", "hers"]) == "privpipe-attacks v1 + hers + mine"


def test_sizes_grow_and_fit_cifar10() -> None:
    sizes = list(V1.sizes.values())
    assert list(V1.sizes) == ["smoke", "standard", "full"]
    for small, large in pairwise(sizes):
        assert small.train < large.train and small.network_steps < large.network_steps and small.minutes < large.minutes
    assert V1.sizes["full"].train + V1.sizes["full"].val + V1.sizes["full"].public == 50_000


@pytest.mark.parametrize(("public", "epochs"), [(40, 3), (100, 1), (1000, 10)])
def test_network_steps_are_those_of_the_network(public: int, epochs: int) -> None:
    uploads = np.zeros((1, 8, 8, 3), np.uint8)
    view = AdversaryView("gaussian_blur", 3, "dataset", 0.0, uploads, uploads)
    held_out = max(1, min(MOST_HELD_OUT, round(HELD_OUT * public)))
    images = np.zeros((public - held_out, 8, 8, 3), np.uint8)
    trainer = _Trainer(RestorationNetwork(epochs=epochs), view, images, torch.device("cpu"))
    assert network_steps(public, epochs) == trainer.steps
