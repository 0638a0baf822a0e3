"""Intervals for measured shares."""

from math import sqrt

Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson_interval(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a share, 95 % by default (Wilson 1927, Journal of the American Statistical Association).

    Args:
        successes: 0..trials.
        trials: at least 1.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"successes must be in 0..trials and trials at least 1; got {successes} of {trials}")
    share, z2 = successes / trials, z * z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    # The share itself bounds the ends, which rounding would else put just inside 0 and 1.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
