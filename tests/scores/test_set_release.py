"""Whose image is in a release of a whole set: the owner's three statements, and what stays empty."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from privpipe.attacks.records import Record
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.dp_statistics import DpStatistics
from privpipe.perturb.keystream import fine_normal
from privpipe.perturb.release import Labelled
from privpipe.released import About, Released
from privpipe.report.advice import findings
from privpipe.scores.registry import scores
from privpipe.scores.set_release import judge_release, release_of, statements, table
from privpipe.statistics.accounting import mu_of

SIZE, EPSILON, DELTA = 16, 2.0, 1e-5
DRAWN = draw(300, SIZE, rng=np.random.default_rng(3))
CANDIDATES = Labelled(DRAWN.images[:100], DRAWN.labels[:100])
ABOUT = About(
    "dp_statistics", "noisy_sums", {"epsilon": EPSILON, "delta": DELTA}, tuple("abcdefghij"), (SIZE, SIZE, 3), "0" * 64
)
NUMBERS = DpStatistics(SIZE, epsilon=EPSILON, delta=DELTA).release(
    Labelled(DRAWN.images[100:200], DRAWN.labels[100:200]), DRAWN.images[200:], None, 10, KeyStream(bytes(32))
)
NOT_RUN = Record("L0", "reconstruction", 0, 0, problem="there is no image")


def test_the_three_statements_and_no_score_of_images() -> None:
    judgement = judge_release(Released(ABOUT, NUMBERS), [NOT_RUN], CANDIDATES, 50)
    metrics = judgement.metrics
    sizes = np.bincount(CANDIDATES.labels)
    bound = sum(size / 100 * norm.cdf(norm.ppf(1 / size) + mu_of(EPSILON, DELTA)) for size in sizes)
    assert metrics["identified_at_most"] == pytest.approx(bound, abs=1e-5)
    assert metrics["identified_exactly"] is None and "bounded" in str(metrics["identified_exactly_why"])
    assert metrics["identified_prior"] == 0.1 and 0 <= metrics["identified_at_least"] <= 1
    assert all(metrics[f"{level}_{score.name}"] is None for level in ("l0", "l3") for score in scores())
    assert findings(metrics) == []
    assert judgement.rows == [] and judgement.problems == [("L0", "reconstruction", 0, "there is no image")]


def test_a_lucky_adversary_does_not_beat_the_bound() -> None:
    labels = np.arange(8) % 2
    found = statements(DpStatistics(SIZE, epsilon=1.0), labels, 0.5, 4)
    assert found.at_least == found.at_most == pytest.approx(0.342, abs=1e-3)


def test_what_the_end_of_the_noise_adds_is_said() -> None:
    assert "adds less than 1e-09 to delta" in DpStatistics(SIZE, epsilon=8.0).guarantee
    strong = DpStatistics(SIZE, epsilon=30.0)
    added = float(re.search(r"adds less than (\S+) to delta", strong.guarantee)[1])  # type: ignore[index]  # it is there
    end = -fine_normal(np.zeros(8, np.uint8))[0]  # noise that moves an image further than that tells it for sure
    assert norm.sf(end - strong.mu) < added


def test_a_release_of_a_method_that_is_not_there_is_refused_by_name() -> None:
    about = About("dp_nothing", "noisy_sums", {}, ("a",), (SIZE, SIZE, 3), "0" * 64)
    with pytest.raises(PrivpipeError, match=r"there is no method 'dp_nothing'\. Use the privpipe that made it"):
        release_of(about)


def test_the_documents_say_what_the_table_says() -> None:
    rows = {line.split(" | ")[0].strip("| "): line for line in table().splitlines()[2:]}
    text = (Path(__file__).parents[2] / "docs" / "threat-model.md").read_text()
    for epsilon, named in (("1", "0.24 % at epsilon 1"), ("3", "0.89 % at 3")):
        assert named in text and f" {named.split(' at')[0]} " in rows[epsilon]
