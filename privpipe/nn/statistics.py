"""Intervals for measured fractions."""


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a fraction (Wilson 1927, Journal of the American Statistical Association).

    Args:
        successes: 0..trials.
        trials: at least 1.

    Raises:
        ValueError: the counts are impossible.
    """
    from scipy.stats import binomtest  # here: it takes a second to import

    low, high = binomtest(successes, trials).proportion_ci(method="wilson")
    fraction = successes / trials
    # The fraction itself bounds the ends, which rounding would else put just inside 0 and 1.
    return min(fraction, float(low)), max(fraction, float(high))
