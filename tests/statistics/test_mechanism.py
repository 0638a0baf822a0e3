"""Sums are those of a loop; no image moves a release by more than mu; what is refused says why."""

from dataclasses import replace

import numpy as np
import pytest

from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.keystream import fine_normal
from privpipe.statistics.mechanism import (
    GRID,
    Budget,
    clipped,
    contribution,
    decoded,
    exact_sums,
    noise_count,
    noisy,
    packed,
    release,
    unpacked,
)

RNG = np.random.default_rng(0)
VECTORS = clipped(RNG.standard_normal((50, 7)).astype(np.float32))
TARGETS = clipped(RNG.standard_normal((50, 3)).astype(np.float32))


def test_clipping_shortens_what_is_too_long_and_keeps_directions() -> None:
    rows = np.array([[3, 4], [0.3, 0.4], [0, 0]], np.float32)
    assert clipped(rows) == pytest.approx(np.array([[0.6, 0.8], [0.3, 0.4], [0, 0]]), abs=1e-5)
    many = clipped(RNG.standard_normal((10_000, 5)).astype(np.float32))
    assert np.linalg.norm(many.astype(np.float64), axis=1).max() <= 1


@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_a_release_is_sums_and_noise(fraction: float) -> None:
    budget = Budget(0.5, fraction)
    noise = RNG.standard_normal(noise_count(7, 3, budget))
    released = release(VECTORS, TARGETS, budget, noise)
    cross = sum(np.outer(r, z) for z, r in zip(VECTORS.astype(float), TARGETS.astype(float), strict=True))
    scale = 0.5 * (1 - fraction) ** 0.5
    assert released.cross == pytest.approx(cross + noise[:21].reshape(3, 7) / scale, abs=GRID / 2 / scale + 1e-9)
    assert released.cross_variance == pytest.approx(1 / scale**2)
    assert released.count == 50
    if not fraction:
        assert released.moment is None
        return
    assert released.moment is not None
    expected = sum(np.outer(z, z) for z in VECTORS.astype(float)) + unpacked(noise[21:]) / (0.5 * 0.3**0.5)
    assert released.moment == pytest.approx(expected, abs=GRID / 2 / (0.5 * 0.3**0.5) + 1e-9)
    assert released.moment_variance == pytest.approx(1 / (0.25 * 0.3))


@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.9])
def test_no_image_moves_a_release_by_more_than_mu(fraction: float) -> None:
    budget = Budget(0.7, fraction)
    whole = contribution(exact_sums(VECTORS, TARGETS, moment=True), budget)
    moved = []
    for one in range(len(VECTORS)):
        kept = np.arange(len(VECTORS)) != one
        without = contribution(exact_sums(VECTORS[kept], TARGETS[kept], moment=True), budget)
        moved.append(np.linalg.norm(whole - without))
    assert 0.69 < max(moved) <= 0.7


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_a_release_is_one_of_the_same_numbers_whatever_the_sums_are(size: float) -> None:
    # By numbers that only some sums give, whoever knows all images but one would be sure of the last.
    budget, noise = Budget(0.3), fine_normal(KeyStream(bytes(32)).shared(8 * 21))[0]
    sums = replace(exact_sums(VECTORS, TARGETS), cross=size * RNG.standard_normal((3, 7)))
    given = contribution(noisy(sums, budget, noise), budget)
    assert np.abs(given - GRID * np.rint(given / GRID)).max() < 1e-9 * size
    assert given == pytest.approx(contribution(sums, budget) + noise, abs=GRID / 2 + 1e-9 * size)


def test_packing_keeps_norms_and_numbers() -> None:
    matrix = RNG.standard_normal((6, 6))
    matrix += matrix.T
    assert np.linalg.norm(packed(matrix)) == pytest.approx(np.linalg.norm(matrix))
    assert unpacked(packed(matrix)) == pytest.approx(matrix)
    sums = exact_sums(VECTORS, TARGETS, moment=True)
    again = decoded(contribution(sums, Budget(2, 0.5)), 3, 50, Budget(2, 0.5))
    assert again.cross == pytest.approx(sums.cross)
    assert again.moment == pytest.approx(sums.moment)


def test_what_is_refused_says_why() -> None:
    with pytest.raises(PrivpipeError, match=r"norm at most 1; got norm 1\.5\. Use mechanism\.clipped first"):
        exact_sums(np.full((1, 1), 1.5, np.float32), TARGETS[:1])
    with pytest.raises(PrivpipeError, match="got one that is not finite"):
        exact_sums(VECTORS[:1], np.full((1, 1), np.nan, np.float32))
    with pytest.raises(PrivpipeError, match="a target for each vector; got 2 for 3"):
        exact_sums(VECTORS[:3], TARGETS[:2])
    with pytest.raises(PrivpipeError, match=r"noise must be 21 values.*got \(20,\)"):
        release(VECTORS, TARGETS, Budget(1), np.zeros(20))
    with pytest.raises(PrivpipeError, match="mu must be positive and finite; got 0"):
        Budget(0)
    with pytest.raises(PrivpipeError, match="at least 0 and below 1; got 1"):
        Budget(1, 1)
    with pytest.raises(PrivpipeError, match=r"Use moment=True"):
        contribution(exact_sums(VECTORS, TARGETS), Budget(1, 0.5))
