"""Accounting of sampled noise: published code, numerical integration, and the exact bound without sampling."""

import numpy as np
import pytest
from scipy.stats import norm

from privpipe.errors import PrivpipeError
from privpipe.statistics.accounting import epsilon_of, identified_at_most
from privpipe.statistics.sampled import (
    ORDERS,
    divergences,
    sampled_epsilon,
    sampled_identified_at_most,
    sampled_noise,
)

# Of Opacus 1.6.0 (opacus.accountants.analysis.rdp): rate, noise, steps, D_2, D_5, D_20, epsilon at delta 1e-5.
OPACUS = [
    (0.01, 1.1, 1000, 0.12851008160514807, 0.34015796633296463, 3416.9310395609327, 1.725290818044953),
    (0.1, 4.0, 200, 0.12894734035924538, 0.32819748704589385, 1.448772893341233, 1.5568078922121804),
    (1.0, 3.0, 1, 1 / 9, 2.5 / 9, 10 / 9, 1.3862750468052074),
    (0.02, 0.8, 500, 0.7535784704797911, 6.247204742726652, 5753.540523462168, 5.397018914477763),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "second", "fifth", "twentieth", "epsilon"), OPACUS)
def test_divergences_and_epsilon_are_those_of_opacus(
    rate: float, noise: float, steps: int, second: float, fifth: float, twentieth: float, epsilon: float
) -> None:
    found = divergences(noise, rate, steps)
    assert found[np.isin(ORDERS, [2, 5, 20])] == pytest.approx([second, fifth, twentieth])
    assert sampled_epsilon(noise, rate, steps) == pytest.approx(epsilon)
    assert sampled_noise(epsilon, rate, steps) == pytest.approx(noise, rel=1e-5)


@pytest.mark.parametrize("order", [2, 7])
def test_a_divergence_is_the_integral_of_its_definition(order: int) -> None:
    rate, noise = 0.2, 1.5

    x = np.linspace(-14, 24, 200_001)
    other = norm.logpdf(x, 0, noise)
    mixed = np.logaddexp(np.log1p(-rate) + other, np.log(rate) + norm.logpdf(x, 1, noise))
    one, reverse = (
        np.log(np.trapezoid(np.exp(order * p + (1 - order) * q), x)) / (order - 1)
        for p, q in ((mixed, other), (other, mixed))
    )
    found = divergences(noise, rate, 1)[order - ORDERS[0]]
    assert found == pytest.approx(one) and found >= reverse


@pytest.mark.parametrize("mu", [0.1, 0.3, 1.0, 3.0])
def test_without_sampling_the_bounds_are_above_the_exact_ones_and_near_them(mu: float) -> None:
    exact, bound = identified_at_most(1e-3, mu), sampled_identified_at_most(1e-3, 1 / mu, 1.0, 1)
    assert exact <= bound <= min(1.0, 2.5 * exact)
    assert epsilon_of(mu) <= sampled_epsilon(1 / mu, 1.0, 1) <= 1.35 * epsilon_of(mu)


@pytest.mark.parametrize("epsilon", [0.04, 1e12])
def test_an_epsilon_that_no_noise_gives_is_refused(epsilon: float) -> None:
    with pytest.raises(
        PrivpipeError, match=r"epsilon must be over 0\.0446, and at most 2.05e\+03, for delta 1e-05; got"
    ):
        sampled_noise(epsilon, 0.1, 100)


def test_sampling_tells_less() -> None:
    assert sampled_epsilon(2.0, 0.1, 1) < 0.3 * sampled_epsilon(2.0, 1.0, 1)
    assert sampled_identified_at_most(1e-3, 2.0, 0.1, 1) < sampled_identified_at_most(1e-3, 2.0, 1.0, 1)


def test_the_bound_on_identification_is_concave_and_at_most_one() -> None:
    priors = np.linspace(1e-4, 0.5, 200)
    bounds = sampled_identified_at_most(priors, 1.0, 0.1, 50)
    assert (np.diff(bounds, 2) <= 1e-12).all() and (bounds >= priors).all() and bounds.max() <= 1
