"""Intervals for measured fractions."""

from math import sqrt

from scipy.special import ndtri


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a fraction (Wilson 1927, Journal of the American Statistical Association).

    Bit for bit what `scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")` gives, but for
    rounding at 0 and 1, without the second that `scipy.stats` takes to import in every evaluation.

    Args:
        successes: 0..trials.
        trials: at least 1.

    Raises:
        ValueError: the counts are impossible.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"successes must be 0..trials and trials at least 1; got {successes} of {trials}")
    fraction, z = successes / trials, float(ndtri(0.975))
    denominator = 2 * (trials + z**2)
    centre = (2 * trials * fraction + z**2) / denominator
    half = z / denominator * sqrt(4 * trials * fraction * (1 - fraction) + z**2)
    # What rounding would put just inside of the fraction, or outside of 0..1, is there.
    return max(0.0, min(fraction, centre - half)), min(1.0, max(fraction, centre + half))
