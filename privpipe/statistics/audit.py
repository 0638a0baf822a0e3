"""Auditing a mechanism by running it: bounds from below on what it tells, at a stated confidence.

The whole mechanism is run many times on a set, and as many times on the set with one image more. A test decides from
the output which it was. How often it is wrong bounds epsilon from below, whatever the proof says; a bound above
what was promised means that the mechanism is broken. Both error rates are bounded by Clopper and Pearson (1934), each
at half of the permitted error. The threshold is chosen on the first half of the runs and judged on the second.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri

from privpipe.errors import PrivpipeError
from privpipe.statistics.accounting import DELTA, check_delta, epsilon_of
from privpipe.statistics.values import Doubles

LEAST_RUNS = 100
THRESHOLDS = 200


@dataclass(frozen=True)
class Audit:
    """What runs of a mechanism show.

    Args:
        epsilon: with `delta` it is not (epsilon, delta)-differentially private for anything less; no assumption.
        mu: it is no Gaussian mechanism of a smaller mu.
        gaussian_epsilon: epsilon of that mu: what a mechanism that claims to be Gaussian has at least. Sharper.
        delta: 0..1.
        confidence: 0..1, of each of the two statements.
        runs: of either kind.
    """

    epsilon: float
    mu: float
    gaussian_epsilon: float
    delta: float
    confidence: float
    runs: int


def audit(run: Callable[[bool, int], float], runs: int = 1000, delta: float = DELTA, confidence: float = 0.99) -> Audit:
    """Run a mechanism `runs` times with and without an image.

    Args:
        run: takes whether the image is in the set and the number of the run, runs the whole mechanism with noise of its
            own, and returns a score that is high where the output looks as if the image were there.
    """
    inside, outside = (np.array([run(present, number) for number in range(runs)]) for present in (True, False))
    return from_scores(inside, outside, delta, confidence)


def from_scores(inside: Doubles, outside: Doubles, delta: float = DELTA, confidence: float = 0.99) -> Audit:
    """The bounds that follow from scores of runs with the image and without it, each float64 (R,).

    Raises:
        PrivpipeError: there are fewer than 100 scores of either kind, or other than as many of both.
    """
    check_delta(delta)
    if len(inside) != len(outside) or len(inside) < LEAST_RUNS:
        raise PrivpipeError(
            f"an audit takes as many runs with the image as without, {LEAST_RUNS} at least; got {len(inside)} and "
            f"{len(outside)}. Use 1,000 of each."
        )
    half = len(inside) // 2
    thresholds = np.quantile(np.concatenate([inside[:half], outside[:half]]), np.linspace(0.005, 0.995, THRESHOLDS))
    chosen = _rates(inside[:half], outside[:half], thresholds, confidence)
    judged = _rates(inside[half:], outside[half:], thresholds, confidence)
    # Chosen as it is judged: by the bound.
    epsilon, mu = (
        max(0.0, float(bound(*judged)[np.argmax(bound(*chosen))]))
        for bound in (lambda hits, alarms: _epsilon(hits, alarms, delta), _mu)
    )
    return Audit(epsilon, mu, epsilon_of(mu, delta), delta, confidence, len(inside))


def _rates(inside: Doubles, outside: Doubles, thresholds: Doubles, confidence: float) -> tuple[Doubles, Doubles]:
    """Lower bounds on the rates of hits, and upper bounds on those of false alarms, for each threshold."""
    error = (1 - confidence) / 2
    hits, alarms = ((scores[:, None] > thresholds).sum(axis=0) for scores in (inside, outside))
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1), len(inside) - hits + 1, error), 0)
    spared = np.maximum(len(outside) - alarms, 1)
    high = np.where(alarms < len(outside), betaincinv(alarms + 1, spared, 1 - error), 1)
    return np.asarray(low), np.asarray(high)


def _epsilon(hits: Doubles, alarms: Doubles, delta: float) -> Doubles:
    """hits <= exp(epsilon)·alarms + delta, and the same of the other answer (Kairouz, Oh and Viswanath, ICML 2015)."""
    with np.errstate(divide="ignore"):  # a rate of 0 bounds nothing: its logarithm is -inf
        one = np.log(np.maximum(hits - delta, 0)) - np.log(alarms)
        other = np.log(np.maximum(1 - alarms - delta, 0)) - np.log(1 - hits)
    return np.asarray(np.maximum(one, other))


def _mu(hits: Doubles, alarms: Doubles) -> Doubles:
    """A Gaussian mechanism has hits <= Phi(Phi^(-1)(alarms) + mu) (Nasr et al., USENIX Security 2023)."""
    return np.asarray(ndtri(hits) - ndtri(alarms))
