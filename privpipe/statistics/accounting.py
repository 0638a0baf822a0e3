"""What Gaussian noise guarantees: from sensitivity over deviation to (epsilon, delta), zCDP and identification.

A mechanism M is (epsilon, delta)-differentially private if for all neighbouring inputs D, D' and all sets S of outputs
P(M(D) in S) <= exp(epsilon)·P(M(D') in S) + delta. Neighbours here are two sets of which one lacks a single image that
the other has (adding or removing one).

A function of the set that moves by at most s when one image is added or removed, plus independent N(0, sigma²) in every
coordinate, is a Gaussian mechanism with mu = s / sigma: telling the two sets apart is no easier than telling N(0, 1)
from N(mu, 1) (Dong, Roth and Su, "Gaussian differential privacy", JRSS B 2022, theorem 1). For given mu,

    delta(epsilon) = Phi(mu/2 - epsilon/mu) - exp(epsilon)·Phi(-mu/2 - epsilon/mu)

exactly (Balle and Wang, "Improving the Gaussian mechanism for differential privacy", ICML 2018, theorem 8). Several
such releases of one set are together one with mu = sqrt(mu_1² + mu_2² + ...) (Dong et al., corollary 2), whatever each
has been chosen by. The same is rho-zCDP with rho = mu²/2 (Bun and Steinke, TCC 2016, lemma 2.4), and rho adds up.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import bdtrc, erfcx, ndtr, ndtri

from privpipe.errors import PrivpipeError

DELTA = 1e-5
LEAST_MU, MOST_MU = 1e-9, 1e9
LUCK = 1e-6


def check_delta(delta: float) -> None:
    """
    Raises:
        PrivpipeError: delta is not between 0 and 1, both excluded.
    """
    if not 0 < delta < 1:
        raise PrivpipeError(f"delta must be between 0 and 1, both excluded; got {delta}. Use {DELTA:g}.")


def epsilon_of(mu: float, delta: float = DELTA) -> float:
    """The smallest epsilon >= 0 with which a Gaussian mechanism is (epsilon, delta)-differentially private.

    Args:
        mu: sensitivity over standard deviation, not negative.
        delta: 0..1, both excluded.
    """
    check_delta(delta)
    if mu == 0 or delta_of(0.0, mu) <= delta:
        return 0.0
    # Phi(-t) <= exp(-t²/2) / 2, so delta is below the one asked for at the upper end.
    highest = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))
    return float(brentq(lambda value: delta_of(value, mu) - delta, 0.0, highest, xtol=1e-12, rtol=1e-14))


def delta_of(epsilon: float, mu: float) -> float:
    """delta(epsilon) of the module's description, for a positive mu and an epsilon of any size.

    With a = mu/2 - epsilon/mu and b = -mu/2 - epsilon/mu, b² = a² + 2·epsilon. So the second term is
    exp(-a²/2)·erfcx(-b/sqrt(2))/2, in which nothing overflows.
    """
    a, b = mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu
    return float(ndtr(a) - np.exp(-a * a / 2) * erfcx(-b / np.sqrt(2)) / 2)


def mu_of(epsilon: float, delta: float = DELTA) -> float:
    """The largest mu that is (epsilon, delta)-differentially private; noise of deviation sensitivity / mu has it.

    Raises:
        PrivpipeError: epsilon is not positive and finite, delta not between 0 and 1, or both are next to 0.
    """
    check_delta(delta)
    if not 0 < epsilon < math.inf:
        raise PrivpipeError(f"epsilon must be positive and finite; got {epsilon}. Values of 0.5 to 8 are usual.")
    if delta_of(epsilon, LEAST_MU) > delta:
        raise PrivpipeError(
            f"epsilon or delta must be larger; got {epsilon:g} and {delta:g}, which take noise of more than "
            f"{1 / LEAST_MU:g} times what one image adds. Values of 0.5 to 8 and {DELTA:g} are usual."
        )
    # In log(mu): the equation spans many decades, and its root is then found to a relative precision.
    root = brentq(
        lambda log: delta_of(epsilon, math.exp(log)) - delta, math.log(LEAST_MU), math.log(MOST_MU), xtol=1e-13
    )
    return math.exp(float(root)) * (1 - 1e-12)  # rounded down, so that the guarantee is never short


def composed(mus: Iterable[float]) -> float:
    """mu of several Gaussian mechanisms on one set, released together or one after another."""
    return math.sqrt(math.fsum(mu * mu for mu in mus))


def rho_of(mu: float) -> float:
    """rho of zero-concentrated differential privacy, rho = mu²/2."""
    return mu * mu / 2


def zcdp_epsilon(rho: float, delta: float = DELTA) -> float:
    """What rho-zCDP alone promises: epsilon = rho + 2·sqrt(rho·log(1/delta)) (Bun and Steinke, proposition 1.3).

    For Gaussian noise `epsilon_of` is exact and smaller; this one holds for any mechanism of that rho.
    """
    check_delta(delta)
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


def identified_at_most(prior: float | NDArray[np.float64], mu: float) -> NDArray[np.float64]:
    """How often at most an image is identified that was guessed right with a probability of `prior` before.

    gamma = Phi(Phi^(-1)(prior) + mu): Kaissis et al., "Bounding data reconstruction attacks with the hypothesis testing
    interpretation of differential privacy" (2023, arXiv 2307.03928); Hayes, Mahloujifar and Balle (NeurIPS 2023, arXiv
    2302.07225). The guess may be a name among candidates or a reconstruction; the adversary may know all other images.

    Args:
        prior: 0..1, of any shape.
        mu: of a Gaussian mechanism, for adding or removing the image.
    """
    return np.asarray(ndtr(ndtri(prior) + mu))


def without_luck(measured: float, tries: int, bound: float) -> float:
    """How often an adversary succeeded in so many tries: no more than the bound, where luck explains what is over it.

    What luck explains less often than once in a million tells of a bound that does not hold, and stays as it is.
    """
    if measured <= bound:
        return measured
    return bound if bdtrc(math.ceil(measured * tries - 1e-9) - 1, tries, bound) > LUCK else measured
