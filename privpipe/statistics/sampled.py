"""What Gaussian noise guarantees where every step sees a sample of the images: Rényi differential privacy.

Each of several steps takes every image with probability `rate`, by itself (Poisson sampling), and releases a sum that
one image moves by at most s, plus N(0, (noise·s)²). Of the outputs with and without one image, P and Q, such a step has
a Rényi divergence of integer order a of

    D_a(P || Q) <= 1/(a - 1) · log sum_k C(a, k)·(1 - rate)^(a - k)·rate^k·exp(k·(k - 1) / (2·noise²))

and that of Q from P is no larger (Mironov, Talwar and Zhang, "Rényi differential privacy of the sampled Gaussian
mechanism", 2019, arXiv 1908.10530, theorem 5 and section 3.3). Divergences of steps add up, whatever each step was
chosen by. For other ways of sampling, shuffling among them, none of this holds.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

from privpipe.errors import PrivpipeError
from privpipe.statistics.accounting import DELTA, check_delta
from privpipe.statistics.values import Doubles

ORDERS = np.arange(2, 129)
LEAST_NOISE, MOST_NOISE = 0.2, 1e6


def divergences(noise: float, rate: float, steps: int) -> Doubles:
    """D_a of all steps together, for each of `ORDERS`.

    Args:
        noise: standard deviation in units of what one image moves a sum by.
        rate: of the sampling, over 0 to 1.
        steps: how many there are.
    """
    if rate == 1:
        return np.asarray(steps * ORDERS / (2 * noise**2))
    k = np.arange(ORDERS[-1] + 1)
    a = ORDERS[:, None]
    with np.errstate(divide="ignore"):  # log 0 beyond k = a, where there is no term
        chosen = np.where(k <= a, gammaln(a + 1) - gammaln(k + 1) - gammaln(np.maximum(a - k, 0) + 1), -np.inf)
    terms = chosen + (a - k) * math.log1p(-rate) + k * math.log(rate) + k * (k - 1) / (2 * noise**2)
    return np.asarray(steps * logsumexp(terms, axis=1) / (ORDERS - 1))


def sampled_epsilon(noise: float, rate: float, steps: int, delta: float = DELTA) -> float:
    """epsilon at `delta`, by Canonne, Kamath and Steinke (NeurIPS 2020, proposition 12); at least 0."""
    check_delta(delta)
    bounds = divergences(noise, rate, steps) + np.log1p(-1 / ORDERS) - np.log(delta * ORDERS) / (ORDERS - 1)
    return max(0.0, float(bounds.min()))


def sampled_noise(epsilon: float, rate: float, steps: int, delta: float = DELTA) -> float:
    """The least noise with which all steps together are (epsilon, delta)-differentially private.

    Raises:
        PrivpipeError: noise of 0.2 to 1e6 gives no such epsilon; orders up to 128 tell of none that is much smaller.
    """
    least, most = (sampled_epsilon(noise, rate, steps, delta) for noise in (MOST_NOISE, LEAST_NOISE))
    if not least < epsilon <= most:
        raise PrivpipeError(
            f"epsilon must be over {least:.3g}, and at most {most:.3g}, for delta {delta:g}; got {epsilon:g}."
        )
    root = brentq(
        lambda log: sampled_epsilon(math.exp(log), rate, steps, delta) - epsilon,
        math.log(LEAST_NOISE),
        math.log(MOST_NOISE),
        xtol=1e-9,
    )
    return math.exp(float(root)) * (1 + 1e-8)  # rounded up, so that the guarantee is never short


def sampled_identified_at_most(
    prior: float | NDArray[np.float64], noise: float, rate: float, steps: int
) -> NDArray[np.float64]:
    """How often at most an image is identified that was guessed right with a probability of `prior` before.

    As `accounting.identified_at_most`, from P(E) <= (exp(D_a)·Q(E))^((a - 1)/a) for every event E and order a (van
    Erven and Harremoës, "Rényi divergence and Kullback-Leibler divergence", 2014; Langlois, Stehlé and Steinfeld,
    Eurocrypt 2014, lemma 4.1). It is concave in Q(E), so that the candidates may share it as they like.
    """
    logs = np.log(np.asarray(prior, np.float64))[..., None] + divergences(noise, rate, steps)
    return np.asarray(np.exp(np.minimum(0, (logs * (1 - 1 / ORDERS)).min(axis=-1))))
