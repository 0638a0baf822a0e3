"""Accounting agrees with privacy losses that are convolved and integrated, with zCDP and with published values."""

import math

import numpy as np
import pytest
from scipy.signal import fftconvolve
from scipy.stats import norm

from privpipe.errors import PrivpipeError
from privpipe.statistics.accounting import (
    composed,
    delta_of,
    epsilon_of,
    identified_at_most,
    mu_of,
    rho_of,
    without_luck,
    zcdp_epsilon,
)


@pytest.mark.parametrize("mus", [(0.3,), (0.4, 0.2), (1.0, 0.5, 0.7)])
@pytest.mark.parametrize("delta", [1e-6, 1e-3])
def test_several_releases_are_one_whose_losses_add_up(mus: tuple[float, ...], delta: float) -> None:
    # The privacy loss of one release is N(mu²/2, mu²); that of several is the convolution of these laws.
    step = 1e-3
    loss = np.arange(-30_000, 30_001) * step
    law = np.zeros_like(loss)
    law[30_000] = 1
    for mu in mus:
        law = fftconvolve(law, norm.pdf(loss, mu * mu / 2, mu) * step, mode="same")
    epsilon = epsilon_of(composed(mus), delta)
    integral = (law * np.maximum(0, -np.expm1(np.minimum(0, epsilon - loss)))).sum()
    assert epsilon > 0
    assert integral == pytest.approx(delta, rel=1e-3)


@pytest.mark.parametrize("epsilon", [1e-3, 0.5, 1, 3, 8, 1000])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.1])
def test_noise_and_epsilon_are_inverse(epsilon: float, delta: float) -> None:
    mu = mu_of(epsilon, delta)
    assert epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-8)
    assert delta_of(epsilon, mu) <= delta  # rounded to the safe side


def test_agrees_with_a_published_value() -> None:
    # Balle and Wang (2018): where the classical mechanism takes sigma = sqrt(2 ln(1.25/delta)) = 4.84, 3.73 suffices.
    assert 1 / mu_of(1, 1e-5) == pytest.approx(3.7306, abs=1e-4)


def test_zcdp_is_the_same_noise_and_promises_less() -> None:
    mus = [0.3, 0.4, 1.2]
    assert rho_of(composed(mus)) == pytest.approx(sum(map(rho_of, mus)))
    for mu in (0.05, 0.7, 5.0):
        assert epsilon_of(mu) < zcdp_epsilon(rho_of(mu))
    assert zcdp_epsilon(0.5, 1e-6) == pytest.approx(0.5 + math.sqrt(2 * math.log(1e6)))


def test_identification_is_bounded_by_the_best_test_of_a_candidate() -> None:
    # Among s equally likely candidates on orthogonal axes, the likeliest is named; drawn, it is right less often than
    # the bound, and with the prior alone at mu = 0.
    rng, candidates, mu = np.random.default_rng(0), 100, 2.0
    outputs = rng.standard_normal((20_000, candidates))
    outputs[:, 0] += mu
    right = (outputs.argmax(axis=1) == 0).mean()
    bound = float(identified_at_most(1 / candidates, mu))
    assert 0.2 < right < bound < 0.4
    assert identified_at_most(0.25, 0) == pytest.approx(0.25)
    assert identified_at_most(1e-3, mu_of(1)) == pytest.approx(0.0024, abs=5e-5)


@pytest.mark.parametrize("delta", [0, 1, -1e-5])
def test_no_delta_outside_its_range(delta: float) -> None:
    with pytest.raises(PrivpipeError, match=r"delta must be between 0 and 1, both excluded; got"):
        epsilon_of(1, delta)


@pytest.mark.parametrize("epsilon", [0, -1, math.inf, math.nan])
def test_no_epsilon_that_is_not_positive(epsilon: float) -> None:
    with pytest.raises(PrivpipeError, match=r"epsilon must be positive and finite; got"):
        mu_of(epsilon)


def test_noise_that_no_number_holds_is_refused() -> None:
    with pytest.raises(PrivpipeError, match=r"epsilon or delta must be larger; got 1e-09 and 1e-12"):
        mu_of(1e-9, 1e-12)
    assert delta_of(1e-9, mu_of(1e-9, 1e-9)) <= 1e-9


def test_luck_is_no_more_than_a_theorem_allows_and_more_than_luck_stays() -> None:
    assert without_luck(0.5, 4, 0.34) == 0.34
    assert without_luck(0.2, 4, 0.34) == 0.2
    assert without_luck(0.5, 1000, 0.34) == 0.5
    assert without_luck(1.0, 10, 0.0) == 1.0
