"""InstaHide against its formula, its bounds on weights, and what its key decides."""

import re

import numpy as np
import pytest

from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.nn import encodings_job, train_job
from privpipe.perturb import RELEASES, KeyStream
from privpipe.perturb.instahide import ENCODINGS, FORM, LABELS, Instahide, folded_likelihood
from privpipe.perturb.release import Arrays, Labelled
from privpipe.scores.set_release import identified_of_set

SIZE = 16
STREAM = KeyStream(bytes(range(32)))
DRAWN = draw(160, SIZE, rng=np.random.default_rng(4))
PRIVATE, PUBLIC = Labelled(DRAWN.images[:60], DRAWN.labels[:60]), DRAWN.images[60:]


def release(method: Instahide, private: Labelled = PRIVATE, stream: KeyStream = STREAM) -> Arrays:
    return method.release(private, PUBLIC, None, 10, stream)


def cross(**settings: float) -> Instahide:
    return Instahide(SIZE, **{"mixing": 6, "mixing_public": 4, "encodings": 3, **settings})


@pytest.mark.parametrize("method", [Instahide(SIZE, encodings=2), cross(), Instahide(SIZE, mixing=2, encodings=1)])
def test_an_encoding_is_a_sum_of_images_under_signs_and_its_label_that_of_their_classes(method: Instahide) -> None:
    numbers = release(method)
    plan = method.plan(len(PRIVATE.labels), len(PUBLIC), STREAM)
    count = 60 * int(method.encodings)
    assert numbers[ENCODINGS].shape == (count, SIZE, SIZE, 3) and numbers[ENCODINGS].dtype == np.float16
    assert numbers[LABELS].shape == (count, 10) and numbers[LABELS].dtype == np.float32
    for row in range(0, count, 7):
        total, label = np.zeros((SIZE, SIZE, 3)), np.zeros(10)
        weights = iter(plan.weights[row].astype(float))
        for i in plan.private[row]:
            weight = next(weights)
            total += weight * (PRIVATE.images[i] / 127.5 - 1)
            label[PRIVATE.labels[i]] += weight
        for i in plan.public[row]:
            total += next(weights) * (PUBLIC[i] / 127.5 - 1)
        np.testing.assert_allclose(np.abs(numbers[ENCODINGS][row].astype(float)), np.abs(total), atol=1e-3)
        np.testing.assert_allclose(numbers[LABELS][row], label, atol=1e-6)
    negative = (np.signbit(numbers[ENCODINGS])).mean()
    assert abs(negative - 0.5) < 4 * 0.5 / np.sqrt(numbers[ENCODINGS].size)


def test_the_bytes_are_those_that_were_written_down() -> None:
    numbers = release(cross())
    assert numbers[ENCODINGS][0, 0, :2].tolist() == KNOWN_ENCODING
    assert np.round(numbers[LABELS][:2].max(axis=1).astype(float), 6).tolist() == KNOWN_LABELS
    assert cross().plan(60, 100, STREAM).private[:3].tolist() == KNOWN_PRIVATE


KNOWN_ENCODING = [
    [-0.1708984375, 0.1258544921875, 0.0726318359375],
    [-0.2032470703125, -0.1187744140625, 0.10504150390625],
]
KNOWN_LABELS = [0.381166, 0.264933]
KNOWN_PRIVATE = [[13, 26], [20, 52], [33, 6]]


@pytest.mark.parametrize("largest", [0.3, 0.65])
def test_weights_are_bounded_and_sum_to_one(largest: float) -> None:
    weights = cross(encodings=50, largest=largest).plan(60, 100, STREAM).weights
    assert weights.max() <= largest + 1e-6 and weights.min() > 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights[:, :2].sum(axis=1).min() >= 0.3 - 1e-6
    inside = Instahide(SIZE, encodings=50, largest=largest).plan(60, 100, STREAM).weights
    assert inside.max() <= largest + 1e-6


def test_weights_are_uniform_numbers_over_their_sum() -> None:
    """Of two images, the ratio of uniform numbers below 1 is uniform: half of the larger weights are under 2/3."""
    method = Instahide(SIZE, mixing=2, encodings=200, largest=1)
    larger = method.plan(60, 100, STREAM).weights.max(axis=1).astype(float)
    assert np.mean(larger < 2 / 3) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(larger)))


def test_each_private_image_is_in_as_many_encodings_as_any() -> None:
    plan = cross(encodings=7).plan(60, 100, STREAM)
    assert np.bincount(plan.private.ravel()).tolist() == [7 * 2] * 60
    assert (np.diff(plan.private[:, 0]) != 0).mean() > 0.9  # rows are in disorder
    assert plan.public.shape == (420, 4) and plan.public.min() >= 0 and plan.public.max() < 100


def test_another_key_and_other_settings_mix_otherwise_and_the_same_the_same() -> None:
    first, again = release(cross()), release(cross())
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)
    for other in (release(cross(), stream=STREAM.child("another")), release(cross(largest=0.5))):
        assert not np.array_equal(np.abs(first[ENCODINGS]), np.abs(other[ENCODINGS]))
    signs = np.signbit(first[ENCODINGS]).reshape(180, -1)
    assert abs(np.corrcoef(signs.astype(float))[np.triu_indices(180, 1)]).max() < 0.25  # a fresh mask for each


def test_folded_normal_values_have_their_density() -> None:
    from scipy.stats import norm

    seen, means, variance = np.array([0.3, 1.2]), np.array([[0.5, -1.0], [0.0, 2.0]]), np.array([0.4, 0.9])
    deviation = np.sqrt(variance)
    wanted = np.log(norm.pdf(seen, means, deviation) + norm.pdf(-seen, means, deviation)).sum(axis=1)
    found = folded_likelihood(seen.astype(np.float32), means.astype(np.float32), variance.astype(np.float32))
    assert np.diff(found) == pytest.approx(np.diff(wanted), rel=1e-5)


def test_whose_image_it_is_has_a_lower_bound_and_reasons_for_what_has_no_number() -> None:
    method = Instahide(SIZE, mixing=2)
    found = identified_of_set(method, {}, Labelled(DRAWN.images, DRAWN.labels), 60)
    assert found.exactly is None and found.at_most is None and found.at_least is not None
    assert found.at_least > 5 * found.prior
    assert "continuum" in found.why["exactly"] and "no theorem" in found.why["at_most"]


def test_what_names_the_form_says_the_same_everywhere() -> None:
    assert RELEASES["instahide"] is Instahide and train_job.SOFT_ENCODINGS == FORM
    assert (encodings_job.ENCODINGS, encodings_job.LABELS) == (ENCODINGS, LABELS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixing": 1}, r"^perturb\.mixing \(images in an encoding\) must be a whole number from 2 up to 16"),
        ({"mixing": 4, "mixing_public": 4}, r"^perturb\.mixing_public must be less than perturb\.mixing=4"),
        ({"largest": 0.25}, r"^perturb\.largest must leave room for the weights of 4 images, 0\.3 or more; got 0\.25"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(settings: dict[str, float], message: str) -> None:
    (problem,) = Instahide.setting_problems("dataset", 0.0, settings)

    assert re.search(message, problem)


def test_a_scope_and_a_sigma_are_refused() -> None:
    problems = Instahide.setting_problems("image", 10.0, {})
    assert problems[0].startswith("perturb.scope must be dataset for perturb.method=instahide")
    assert problems[1] == (
        "perturb.sigma must be 0 for perturb.method=instahide, which adds no noise; got 10. Set perturb.sigma=0."
    )


def test_too_few_public_images_are_refused_where_they_are_mixed_in() -> None:
    with pytest.raises(PrivpipeError, match=r"^instahide mixes public images in, at least 20; got 5\."):
        cross().release(PRIVATE, PUBLIC[:5], None, 10, STREAM)
    Instahide(SIZE).release(PRIVATE, PUBLIC[:0], None, 10, STREAM)
