"""A release of noisy mixtures as a file: written by the owner, fitted to by the cloud, and judged as any release."""

from pathlib import Path

import numpy as np
import pytest
import torch

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.nn.inference import predict
from privpipe.nn.release_job import fit_release
from privpipe.owner.key import new_key
from privpipe.owner.releases import entries
from privpipe.owner.releasing import cross
from privpipe.params import load_params
from privpipe.perturb.release import Labelled
from privpipe.released import load_released
from privpipe.scores.identification import at_most
from privpipe.scores.set_release import judge_release
from privpipe.statistics.accounting import mu_of
from privpipe.store import PUBLIC

EPSILON = 8.0
DRAWN = draw(1300, 16, rng=np.random.default_rng(0))
PARAMS = load_params(Path(__file__).parents[2] / "params.yaml").perturb


def test_from_images_to_a_model_and_to_what_it_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVPIPE_KEYS", str(tmp_path / "keys"))
    images, public, released, queries = (
        tmp_path / f"{name}.h5" for name in ("images", "public", "released", "queries")
    )
    write_images(images, DRAWN, DRAWN, {"train": np.arange(900), "test": np.arange(900, 1100)})
    write_images(public, DRAWN, DRAWN, {"train": np.arange(1100, 1300)}, PUBLIC)
    settings = PARAMS.model_copy(update={"method": "dp_mixtures", "epsilon": EPSILON, "scope": "dataset"})
    # Never None of a model that takes settings of methods.
    settings.model_extra["mixed"] = 45  # type: ignore[index]
    key = new_key(None)
    metrics = cross(images, public, released, queries, settings, key)
    assert metrics["epsilon_spent"] == pytest.approx(EPSILON)
    (entry,) = entries(key)
    assert (entry.method, entry.mu) == ("dp_mixtures", pytest.approx(mu_of(EPSILON)))

    bundle = fit_release(released)
    found = predict(bundle.model, bundle.normalise, torch.from_numpy(DRAWN.images[900:1100])).argmax(1).numpy()
    assert (found == DRAWN.labels[900:1100]).mean() > 0.3  # guessing: 0.1

    candidates = Labelled(DRAWN.images[900:1100], DRAWN.labels[900:1100])
    judged = judge_release(load_released(released), [], candidates, 100).metrics
    bound = at_most(np.bincount(candidates.labels), mu_of(EPSILON))
    assert judged["identified_at_most"] == pytest.approx(bound, abs=1e-5)
    assert judged["identified_at_least"] <= bound + 0.05 and judged["identified_exactly"] is None
