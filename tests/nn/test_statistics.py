"""The Wilson interval against published values, closed forms, its definition and another library."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from privpipe.nn.statistics import wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17: 857-872, table I, method 3 (score, no continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 10, 1000])
def test_closed_forms_at_the_ends_and_in_the_middle(trials: int) -> None:
    """With 0 of n the upper end is z²/(n + z²); half of n is symmetric about 1/2 with half width z/(2·sqrt(n + z²))."""
    z2 = 1.959963984540054**2
    assert wilson_interval(0, trials) == pytest.approx((0, z2 / (trials + z2)))
    assert wilson_interval(trials, trials) == pytest.approx((trials / (trials + z2), 1))
    half = (z2 / (2 * trials + z2)) ** 0.5 / 2
    assert wilson_interval(trials, 2 * trials) == pytest.approx((0.5 - half, 0.5 + half))


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@example((0, 10))
@example((10, 10))
@example((5, 10))
@example((9_999, 10_000))
def test_the_ends_are_1_96_standard_errors_from_the_fraction(counts: tuple[int, int]) -> None:
    """The definition: an end p has |fraction - p| = z·sqrt(p(1 - p)/n), but for an end at the fraction itself."""
    successes, trials = counts
    fraction = successes / trials
    low, high = wilson_interval(*counts)
    library = binomtest(*counts).proportion_ci(method="wilson")
    assert (low, high) == (min(fraction, library.low), max(fraction, library.high))
    assert 0 <= low <= fraction <= high <= 1
    for end in (low, high):
        if fraction not in (0.0, 1.0) or end != fraction:
            assert (fraction - end) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / trials, rel=1e-6)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 10), (11, 10), (0, 0), (0, -1)])
def test_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=rf"must be 0..trials and trials at least 1; got {successes} of {trials}$"):
        wilson_interval(successes, trials)
