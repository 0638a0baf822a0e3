"""The best adversary does as well as theory says it can, and no better than the bounds."""

import numpy as np
import pytest
from scipy.stats import norm

from privpipe.statistics.accounting import mu_of
from privpipe.statistics.mechanism import GRID, Budget, clipped, exact_sums, noise_count, release
from privpipe.statistics.membership import (
    contributions,
    inner_products,
    left_over,
    linkage,
    linkage_at_most,
    linked,
    log_ratio,
    membership_advantage,
    reconstructed,
)

RNG = np.random.default_rng(0)
DIMS, CLASSES = 20, 4


def drawn(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, targets and labels, all of norm 1."""
    labels = np.arange(count) % CLASSES
    vectors = clipped(10 * RNG.standard_normal((count, DIMS)).astype(np.float32))
    return vectors, clipped(np.eye(CLASSES, dtype=np.float32)[labels]), labels


@pytest.mark.parametrize("moment", [0.0, 0.3])
def test_the_ratio_is_that_of_the_likelihoods(moment: float) -> None:
    vectors, targets, _ = drawn(10)
    budget = Budget(1.5, moment)
    noise = RNG.standard_normal(noise_count(DIMS, CLASSES, budget))
    rest = left_over(
        release(vectors, targets, budget, noise), exact_sums(vectors[1:], targets[1:], moment=True), budget
    )
    t = contributions(vectors[:1], targets[:1], budget)[0]
    assert rest - t == pytest.approx(noise, abs=GRID)
    ratio = norm.logpdf(rest - t).sum() - norm.logpdf(rest).sum()
    assert log_ratio(rest, t) == pytest.approx(ratio)


def test_membership_is_told_as_often_as_theory_says() -> None:
    vectors, targets, _ = drawn(1)
    mu = mu_of(8)
    t = contributions(vectors, targets, Budget(mu))[0]
    outside = RNG.standard_normal((4000, len(t)))
    advantage = (log_ratio(outside + t, t) > 0).mean() - (log_ratio(outside, t) > 0).mean()
    assert advantage == pytest.approx(membership_advantage(mu), abs=0.03)
    assert membership_advantage(mu) == pytest.approx(2 * norm.cdf(mu / 2) - 1)


@pytest.mark.parametrize("mu", [0.3, 3.0, 8.0])
def test_linkage_stays_between_chance_and_the_bound(mu: float) -> None:
    vectors, targets, labels = drawn(400)
    right = linkage(vectors, targets, labels, Budget(mu), np.random.default_rng(0), tries=200)
    bound = linkage_at_most(labels, mu)
    assert right <= bound + 0.03
    assert right > (0.8 if mu == 8 else 0)
    assert linkage_at_most(labels, 0) == pytest.approx(CLASSES / 400)


@pytest.mark.parametrize("moment", [0.0, 0.3])
def test_linkage_is_what_the_likeliest_candidates_of_drawn_releases_give(moment: float) -> None:
    vectors, targets, labels = drawn(40)
    budget, rng = Budget(3.0, moment), np.random.default_rng(1)
    t = contributions(vectors, targets, budget)
    assert inner_products(vectors, targets, budget) == pytest.approx(t @ t.T, abs=1e-5)
    of_class = t[labels == 0]
    drawn_one = [linked(of_class[0] + rng.standard_normal(t.shape[1]), of_class) == 0 for _ in range(2000)]
    tries = [linkage(vectors, targets, labels, budget, rng, tries=1) for _ in range(1000)]
    assert np.mean(tries) == pytest.approx(np.mean(drawn_one), abs=0.06)


def test_neighbours_give_the_image_away_with_one_noise_for_both_and_hardly_with_two() -> None:
    vectors, targets, _ = drawn(200)
    budget = Budget(mu_of(3))
    noises = RNG.standard_normal((2, noise_count(DIMS, CLASSES, budget)))
    with_it = release(vectors, targets, budget, noises[0])
    same, other = (release(vectors[1:], targets[1:], budget, noise) for noise in noises)
    exact = abs(reconstructed(with_it, same) @ vectors[0])
    assert exact == pytest.approx(1, abs=1e-4)
    assert abs(reconstructed(with_it, other) @ vectors[0]) < 0.8
