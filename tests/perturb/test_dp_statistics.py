"""dp_statistics: its sums against the definition, its noise, its settings, and who is told from it."""

import math

import numpy as np
import pytest

from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, PERTURBATIONS, RELEASES, KeyStream, perturbation_called
from privpipe.perturb.dp_statistics import DpStatistics
from privpipe.perturb.release import Arrays, Labelled
from privpipe.scores.identification import at_most
from privpipe.statistics.noisy_sums import fitted, recipe_of, sums_of

SIZE, DELTA = 16, 1e-5
STREAM = KeyStream(bytes(range(32)))
DRAWN = draw(400, SIZE, rng=np.random.default_rng(3))
PRIVATE = Labelled(DRAWN.images[:200], DRAWN.labels[:200])
OTHERS = Labelled(DRAWN.images[200:300], DRAWN.labels[200:300])
PUBLIC = DRAWN.images[300:]


def release(private: Labelled = PRIVATE, epsilon: float = 5.0, stream: KeyStream = STREAM) -> Arrays:
    return DpStatistics(SIZE, epsilon, DELTA).release(private, PUBLIC, None, 10, stream)


@pytest.fixture(scope="module")
def released() -> Arrays:
    return release()


def test_the_registry_has_both_kinds_and_refuses_one_for_the_other_by_name() -> None:
    assert {*PERTURBATIONS, *RELEASES} == {*METHODS} and "dp_statistics" in RELEASES
    assert "dp_statistics" not in PERTURBATIONS and PERTURBATIONS.get("dp_statistics") is None
    with pytest.raises(PrivpipeError, match=r"^dp_statistics releases numbers of the whole set and no images"):
        perturbation_called("dp_statistics")


def test_one_image_moves_the_sums_by_no_more_than_the_noise_is_made_for(released: Arrays) -> None:
    without = release(Labelled(PRIVATE.images[1:], PRIVATE.labels[1:]))
    # The same stream, which no program uses twice, so that the noise cancels out.
    moved = sums_of(released).cross - sums_of(without).cross
    mu = DpStatistics(SIZE, 5.0, DELTA).mu
    assert 0 < np.linalg.norm(moved) * mu <= 1 * mu  # noise of deviation 1 / mu, so the distance is at most mu
    assert sums_of(released).cross_variance == pytest.approx(1 / mu**2)


def test_the_noise_is_that_of_the_stream_and_of_the_deviation_that_epsilon_asks_for(released: Arrays) -> None:
    other = release(stream=STREAM.child("another"))
    difference = (sums_of(released).cross - sums_of(other).cross).ravel()
    deviation = math.sqrt(2) / DpStatistics(SIZE, 5.0, DELTA).mu
    assert np.std(difference) == pytest.approx(deviation, rel=5 / math.sqrt(2 * len(difference)))
    assert all(np.array_equal(released[name], again) for name, again in release().items())


def test_without_noise_the_sums_are_those_of_the_definition() -> None:
    exact = release(epsilon=1e6)
    recipe = recipe_of(exact)
    z = recipe.vectors(PRIVATE.images)
    r = recipe.targets(z, PRIVATE.labels)
    expected = sum(np.outer(one, other) for one, other in zip(r.astype(float), z.astype(float), strict=True))
    assert np.abs(sums_of(exact).cross - expected).max() < 0.1
    assert np.linalg.norm(z, axis=1).max() <= 1 and np.linalg.norm(r, axis=1).max() <= 1


def test_what_is_fitted_to_a_release_classifies_images_that_nobody_has_seen() -> None:
    drawn = draw(1500, SIZE, rng=np.random.default_rng(4))
    images, labels = drawn.images, drawn.labels
    private = Labelled(images[:800], labels[:800])
    numbers = DpStatistics(SIZE, 10.0, DELTA).release(private, images[1100:], None, 10, STREAM)
    scores = fitted(numbers).scores(images[800:1100])
    assert (scores.argmax(axis=1) == labels[800:1100]).mean() > 0.3  # guessing: 0.1


@pytest.mark.parametrize("epsilon", [1.0, 100.0])
def test_the_missing_image_is_told_no_more_often_than_the_bound_allows(released: Arrays, epsilon: float) -> None:
    told = DpStatistics(SIZE, epsilon, DELTA).identified(released, PRIVATE, 200)
    bound = at_most(np.unique(PRIVATE.labels, return_counts=True)[1], DpStatistics(SIZE, epsilon, DELTA).mu)
    assert told <= bound + 3 * math.sqrt(bound * (1 - bound) / len(PRIVATE.labels))


def test_with_hardly_any_noise_the_missing_image_is_told(released: Arrays) -> None:
    assert DpStatistics(SIZE, 1e6, DELTA).identified(released, PRIVATE, 200) > 0.95


def test_settings_that_mean_nothing_are_refused_by_name() -> None:
    problems = DpStatistics.setting_problems("image", 25.0, None)
    assert [problem.split(" must be ")[0] for problem in problems] == [
        "perturb.epsilon",
        "perturb.scope",
        "perturb.sigma",
    ]
    assert all("dp_statistics" in problem and "Set perturb." in problem for problem in problems)
    assert DpStatistics.setting_problems("dataset", 0.0, 1.0) == []


def test_too_few_public_images_are_refused() -> None:
    with pytest.raises(PrivpipeError, match=r"of public images, at least 20; got 5\. Raise data\.public\."):
        DpStatistics(SIZE, 1.0, DELTA).release(PRIVATE, PUBLIC[:5], None, 10, STREAM)
