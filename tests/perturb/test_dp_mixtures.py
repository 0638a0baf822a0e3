"""dp_mixtures: its rows and noise from the stream, its settings, who is told from it, and what is trained on it."""

import math

import numpy as np
import pytest

from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import RELEASES, KeyStream
from privpipe.perturb.dp_mixtures import DpMixtures
from privpipe.perturb.dp_statistics import DpStatistics
from privpipe.perturb.release import Arrays, Labelled
from privpipe.scores.identification import at_most
from privpipe.statistics.mixtures import fitted, mixtures_of, recipe_of

SIZE, DELTA = 16, 1e-5
STREAM = KeyStream(bytes(range(32)))
DRAWN = draw(1300, SIZE, rng=np.random.default_rng(4))
PRIVATE = Labelled(DRAWN.images[:800], DRAWN.labels[:800])
PUBLIC = DRAWN.images[1100:]


def method(epsilon: float = 5.0, mixed: int = 20, passes: int = 1) -> DpMixtures:
    return DpMixtures(SIZE, epsilon=epsilon, delta=DELTA, mixed=mixed, passes=passes)


def release(one: DpMixtures, private: Labelled = PRIVATE, stream: KeyStream = STREAM) -> Arrays:
    return one.release(private, PUBLIC, None, 10, stream)


@pytest.fixture(scope="module")
def released() -> Arrays:
    return release(method())


def test_the_file_holds_labelled_vectors_for_any_classifier(released: Arrays) -> None:
    assert RELEASES["dp_mixtures"] is DpMixtures
    _, mixtures = mixtures_of(released)
    recipe = recipe_of(released)
    assert mixtures.features.shape == (10 * 4, recipe.dims) and mixtures.features.dtype == np.float32
    assert np.bincount(mixtures.labels).tolist() == [4] * 10
    assert len(mixtures_of(release(method(mixed=80, passes=3)))[1].labels) == 3 * 10


def test_one_image_moves_all_rows_together_by_no_more_than_the_noise_is_made_for(released: Arrays) -> None:
    fewer = PRIVATE.images.copy()
    fewer[0] = 255 - fewer[0]  # the draws of rows stay: images do not decide them
    # The same stream, which no program uses twice, so that the noise cancels out.
    moved = (
        mixtures_of(released)[1].features - mixtures_of(release(method(), Labelled(fewer, PRIVATE.labels)))[1].features
    )
    deviations = np.linalg.norm(moved) / mixtures_of(released)[1].deviation
    assert 0 < deviations <= 2 * method().mu  # one image replaced by another: one taken away and one added
    assert np.count_nonzero(np.abs(moved).max(axis=1)) == 1


def test_the_noise_is_that_of_the_stream_and_of_the_deviation_that_epsilon_asks_for() -> None:
    loud = method(0.01, 20, 2)
    mixtures = mixtures_of(release(loud))[1]
    assert mixtures.deviation == pytest.approx(2**0.5 / loud.mu / 20, rel=1e-4)
    assert mixtures.features.std() == pytest.approx(mixtures.deviation, rel=5 / math.sqrt(2 * mixtures.features.size))
    first, again = release(method()), release(method())
    other = release(method(), stream=STREAM.child("another"))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["rows.features"], other["rows.features"])


def test_without_noise_rows_are_means_of_vectors_of_their_class() -> None:
    numbers = release(method(1e8, 20))
    z = recipe_of(numbers).vectors(PRIVATE.images)
    mixtures = mixtures_of(numbers)[1]
    for label in range(10):
        total = mixtures.features[mixtures.labels == label].sum(axis=0) * 20
        assert total == pytest.approx(z[PRIVATE.labels == label].sum(axis=0), abs=0.05)


def test_what_is_fitted_to_the_rows_classifies_images_that_nobody_has_seen(released: Arrays) -> None:
    numbers = release(method(10.0, 80))
    scores = fitted(numbers).scores(DRAWN.images[800:1100])
    assert (scores.argmax(axis=1) == DRAWN.labels[800:1100]).mean() > 0.3  # guessing: 0.1


@pytest.mark.parametrize("epsilon", [1.0, 100.0])
def test_the_missing_image_is_told_no_more_often_than_the_bound_allows(released: Arrays, epsilon: float) -> None:
    told = method(epsilon).identified(released, PRIVATE, 300)
    bound = at_most(np.bincount(PRIVATE.labels), method(epsilon).mu)
    assert told <= bound + 3 * math.sqrt(bound * (1 - bound) / 300)


def test_with_hardly_any_noise_the_missing_image_is_told(released: Arrays) -> None:
    assert method(1e6).identified(released, PRIVATE, 200) > 0.95


def test_the_cost_is_that_of_any_release_of_this_epsilon_whatever_is_mixed() -> None:
    assert method(2.0, 7, 3).mu == DpStatistics(SIZE, epsilon=2.0, delta=DELTA).mu


def test_settings_that_mean_nothing_are_refused_by_name() -> None:
    problems = DpMixtures.setting_problems("dataset", 0.0, {"mixed": 0.5, "passes": 0})
    assert [problem.split(" (")[0] for problem in problems] == ["perturb.mixed", "perturb.passes"]
    assert "must be a whole number from 1 up to 100" in problems[1]


def test_too_few_public_images_are_refused() -> None:
    with pytest.raises(PrivpipeError, match=r"^dp_mixtures makes its features of public images, at least 20; got 5\."):
        method().release(PRIVATE, PUBLIC[:5], None, 10, STREAM)
