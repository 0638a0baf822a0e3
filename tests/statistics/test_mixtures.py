"""Noisy mixtures: their rows against the definition, what one image moves, the class sums, and the audit."""

import numpy as np
import pytest
from scipy.stats import chisquare

from privpipe.perturb import KeyStream
from privpipe.perturb.keystream import below, fine_normal
from privpipe.statistics import heads
from privpipe.statistics.accounting import mu_of
from privpipe.statistics.audit import Audit, audit
from privpipe.statistics.mechanism import GRID, Budget, Sums, clipped, contribution, exact_sums
from privpipe.statistics.mixtures import Mixing, class_sums, release, targets

RNG = np.random.default_rng(0)
COUNT, CLASSES, DIMS, EPSILON, RUNS = 120, 3, 5, 3.0, 1000
LABELS = RNG.integers(CLASSES, size=COUNT)
VECTORS = clipped(2 * RNG.standard_normal((COUNT, DIMS)).astype(np.float32))
MIXING = Mixing(mixed=10, passes=2, classes=CLASSES, count=COUNT)
ROWS = MIXING.rows(LABELS, RNG.integers(MIXING.of_class, size=(COUNT, MIXING.passes)))
SILENT = np.zeros(MIXING.total * DIMS)


def test_rows_are_the_means_of_the_definition() -> None:
    assert (MIXING.of_class, MIXING.total) == (4, 24)
    found = release(VECTORS, ROWS, MIXING, Budget(1.0), SILENT)
    expected = np.zeros((24, DIMS))
    for vector, own in zip(VECTORS, ROWS, strict=True):
        for row in own:
            expected[row] += vector / 10
    assert found.features == pytest.approx(expected, abs=GRID / 2 * found.deviation + 1e-5)
    assert all(set(ROWS[i] // 4) == {LABELS[i], CLASSES + LABELS[i]} for i in range(COUNT))
    assert found.labels.tolist() == ([0] * 4 + [1] * 4 + [2] * 4) * 2


def test_the_noise_of_a_row_is_as_strong_as_it_says() -> None:
    noise = RNG.standard_normal(SILENT.shape)
    silent, loud = (release(VECTORS, ROWS, MIXING, Budget(0.5), one) for one in (SILENT, noise))
    added, rounded = loud.deviation * noise.reshape(24, DIMS), GRID * loud.deviation  # half a step each
    assert loud.features - silent.features == pytest.approx(added, abs=rounded + 1e-5)
    assert loud.deviation == pytest.approx(2**0.5 / (0.5 * 10), rel=1e-5)  # sqrt(passes) / (mu · mixed)


@pytest.mark.parametrize("passes", [1, 3])
def test_one_image_moves_all_rows_together_by_mu_deviations_of_the_noise_at_most(passes: int) -> None:
    mixing = Mixing(10, passes, CLASSES, COUNT)
    rows = mixing.rows(LABELS, RNG.integers(mixing.of_class, size=(COUNT, passes)))
    vectors = VECTORS.copy()
    vectors[7] = clipped(np.full((1, DIMS), 9, np.float32))[0]
    with_it = contribution(exact_sums(vectors, targets(rows, mixing)), Budget(0.7))
    vectors[7] = 0  # its contribution is left out
    without = contribution(exact_sums(vectors, targets(rows, mixing)), Budget(0.7))
    moved = np.linalg.norm(with_it - without)
    assert 0.7 * (1 - 1e-4) < moved <= 0.7


def test_the_rows_of_a_class_add_up_to_its_sum_whatever_the_passes() -> None:
    made = release(VECTORS, ROWS, MIXING, Budget(0.5), SILENT)
    sums, rounded = class_sums(made, MIXING), 8 * GRID / 2 * made.deviation * 10 / 2  # of 8 rows of a class, 10 in each
    expected = np.stack([VECTORS[label == LABELS].sum(axis=0) for label in range(CLASSES)])
    assert sums.cross == pytest.approx(expected, abs=rounded + 1e-4)
    assert sums.cross_variance == pytest.approx(4 / 0.5**2, rel=1e-4)  # R / mu²
    noise = [release(VECTORS, ROWS, MIXING, Budget(0.5), RNG.standard_normal(SILENT.shape)) for _ in range(200)]
    errors = np.stack([class_sums(one, MIXING).cross for one in noise]) - expected
    assert errors.var() == pytest.approx(sums.cross_variance, rel=0.1)


def test_sums_of_classes_are_fitted_as_sums_of_targets_are_where_nothing_is_known_before() -> None:
    begin = heads.start(VECTORS, None, CLASSES)
    unit = np.eye(CLASSES)[LABELS]
    of_classes = heads.fit_class_sums(Sums(unit.T @ VECTORS, None, COUNT, 3.0), begin)
    centred = ((unit - 1 / CLASSES) / begin.bound).T @ VECTORS
    noise = 3.0 * (1 - 1 / CLASSES) / begin.bound**2
    expected = heads.fit(Sums(centred - centred.mean(axis=0), None, COUNT, noise), begin)
    assert of_classes.weights == pytest.approx(expected.weights, abs=1e-5)


def test_without_noise_the_classifier_of_public_images_stays_where_private_ones_are_the_same() -> None:
    begin = heads.start(VECTORS, LABELS, CLASSES)
    unit = np.eye(CLASSES)[LABELS]
    refined = heads.fit_class_sums(Sums(unit.T @ VECTORS, None, COUNT), begin).weights
    assert refined == pytest.approx(begin.weights, abs=0.3 * np.abs(begin.weights).max())


def audited(noise_factor: float) -> Audit:
    """The whole mechanism with rows drawn anew in each run, judged by whoever knows all but the image's presence."""
    mixing, image = Mixing(10, 2, CLASSES, COUNT), clipped(np.full((1, DIMS), 2, np.float32))[0]
    budget, mu = Budget(mu_of(EPSILON)), mu_of(EPSILON)

    def run(present: bool, number: int) -> float:
        stream = KeyStream(number.to_bytes(32), ("audit", int(present)))
        drawn = below(stream.child("rows").shared(8 * COUNT * 2), mixing.of_class).reshape(COUNT, 2)
        noise = noise_factor * fine_normal(stream.shared(8 * mixing.total * DIMS))[0]
        rows, vectors = mixing.rows(LABELS, drawn), VECTORS.copy()
        vectors[0] = 0
        known = release(vectors, rows, mixing, budget, np.zeros(len(noise)))
        vectors[0] = image if present else 0
        published = release(vectors, rows, mixing, budget, noise)
        rest = (published.features - known.features)[rows[0]].astype(float) / published.deviation
        return float((rest @ image).sum() * mu / 2**0.5)

    return audit(run, RUNS)


def test_a_thousand_runs_find_less_than_is_promised() -> None:
    result = audited(1.0)
    assert 0 < result.mu < mu_of(EPSILON) and 1 < result.gaussian_epsilon < EPSILON


def test_half_the_noise_is_caught() -> None:
    assert audited(0.5).gaussian_epsilon > EPSILON


def test_rows_are_drawn_evenly() -> None:
    drawn = below(KeyStream(bytes(32)).shared(8 * 6000), 6)[0]
    assert chisquare(np.bincount(drawn, minlength=6)).pvalue > 1e-3
