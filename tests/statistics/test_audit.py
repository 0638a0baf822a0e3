"""An audit's bound stays below what a sound mechanism promises, and exceeds what one with half the noise promises."""

import numpy as np
import pytest
from scipy.stats import norm

from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.keystream import fine_normal
from privpipe.statistics.accounting import delta_of, mu_of
from privpipe.statistics.audit import Audit, audit, from_scores
from privpipe.statistics.mechanism import Budget, clipped, noise_count, release
from privpipe.statistics.membership import contributions, left_over, log_ratio

EPSILON, RUNS = 3.0, 1000
RNG = np.random.default_rng(0)
OTHERS = RNG.standard_normal((40, 12)).astype(np.float32)
IMAGE = np.full((1, 12), 2, np.float32)  # clipped to norm 1: as much as one image may contribute


def audited(noise_factor: float, moment: float) -> Audit:
    """The whole mechanism, from vectors that are yet to be clipped to what is published, noise of a key's stream."""
    budget = Budget(mu_of(EPSILON), moment)
    count = noise_count(12, 3, budget)
    labels = np.eye(3, dtype=np.float32)[np.arange(41) % 3]
    one = clipped(IMAGE), clipped(labels[:1])
    t = contributions(*one, budget)[0]
    known = release(clipped(OTHERS), clipped(labels[1:]), budget, np.zeros(count))

    def run(present: bool, number: int) -> float:
        stream = KeyStream(number.to_bytes(32), ("audit", int(present)))
        noise = noise_factor * fine_normal(stream.shared(8 * count))[0]
        vectors = np.concatenate([IMAGE, OTHERS]) if present else OTHERS
        published = release(clipped(vectors), clipped(labels if present else labels[1:]), budget, noise)
        return float(log_ratio(left_over(published, known, budget), t))

    return audit(run, RUNS)


@pytest.mark.parametrize("moment", [0.0, 0.5])
def test_a_thousand_runs_find_less_than_is_promised(moment: float) -> None:
    result = audited(1, moment)
    assert result.runs == RUNS
    assert 0 < result.mu < mu_of(EPSILON)
    assert 0 <= result.epsilon < EPSILON
    assert 1 < result.gaussian_epsilon < EPSILON


@pytest.mark.parametrize("moment", [0.0, 0.5])
def test_half_the_noise_is_caught(moment: float) -> None:
    assert audited(0.5, moment).gaussian_epsilon > EPSILON


def test_a_forgotten_noise_is_caught_without_any_assumption() -> None:
    assert audited(0.01, 0).epsilon > 1.5 * EPSILON


def test_bounds_hold_at_their_confidence() -> None:
    # Of 200 audits of a Gaussian mechanism, 1 in 100 may exceed the truth.
    mu, rng = 1.5, np.random.default_rng(1)
    results = [from_scores(rng.normal(mu, 1, 400), rng.normal(0, 1, 400)) for _ in range(200)]
    assert sum(one.mu > mu for one in results) <= 6
    assert np.mean([one.mu for one in results]) > 0.6 * mu
    assert all(delta_of(one.epsilon, mu) >= one.delta for one in results)


def test_the_error_rates_are_those_of_clopper_and_pearson() -> None:
    # Perfect answers: of 500 judged, a rate of 1 is at least 0.005^(1/500).
    inside, outside = np.full(1000, 1.0), np.full(1000, -1.0)
    least = 0.005 ** (1 / 500)
    result = from_scores(inside, outside)
    assert result.epsilon == pytest.approx(np.log((least - 1e-5) / (1 - least)))
    assert result.mu == pytest.approx(2 * norm.ppf(least))


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(PrivpipeError, match=r"100 at least; got 99 and 99\. Use 1,000"):
        from_scores(np.zeros(99), np.zeros(99))
