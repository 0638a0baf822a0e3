"""Unmixing InstaHide: its steps by themselves, a set that falls, sets without shared images, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from privpipe.attacks.base import Budget, Outcome
from privpipe.attacks.folded import Mixtures, Prior, Regression, reassigned
from privpipe.attacks.registry import SET_ATTACKS, set_attacks
from privpipe.attacks.set_attack import SetView, attacked
from privpipe.attacks.shared_images import Slots, features, learned, sizes_of
from privpipe.attacks.unmixing import Unmixing, places_in, uneven
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.instahide import ENCODINGS, LABELS, Instahide, signed
from privpipe.perturb.release import Labelled
from privpipe.released import About
from privpipe.scores import fidelity
from privpipe.scores.set_members import Matched, matched

SIZE, COUNT = 16, 20
STREAM = KeyStream(bytes(range(32)))
DRAWN = draw(1200, SIZE, rng=np.random.default_rng(4))
PRIVATE = Labelled(DRAWN.images[:COUNT], DRAWN.labels[:COUNT])
PUBLIC = DRAWN.images[200:]
METHOD = Instahide(SIZE, mixing=3, mixing_public=0, encodings=30)
NAMES = tuple("abcdefghij")


def view_of(method: Instahide, private: Labelled = PRIVATE, claimed: Instahide | None = None) -> SetView:
    """What is released of some images; `claimed`: a method that the release says it is of."""
    numbers = method.release(private, PUBLIC, None, 10, STREAM)
    said = claimed or method
    return SetView(About(said.name, said.form, said.settings, NAMES, (SIZE, SIZE, 3), "0" * 64), numbers, PUBLIC)


def score(method: Instahide, outcome: Outcome) -> Matched:
    held = method.members(COUNT, len(PUBLIC), STREAM)
    assert outcome.images is not None and outcome.key is not None
    assert outcome.images.shape == (COUNT, SIZE, SIZE, 3) and outcome.key.shape == held.shape
    return matched(outcome.images, outcome.key, held, COUNT)


def test_images_come_back_from_mixtures_of_three() -> None:
    outcome = Unmixing().run(view_of(METHOD))
    found = score(METHOD, outcome)
    assert outcome.key is not None
    used = (outcome.key >= 0).all(axis=1).mean()
    assert found.right > 0.8 * used and outcome.confidence is not None and outcome.confidence > 0.7
    images = np.clip(np.rint(found.images), 0, 255).astype(np.uint8)
    assert np.median(fidelity.ssim(PRIVATE.images, images)) > 0.7
    again = Unmixing().run(view_of(METHOD))
    np.testing.assert_array_equal(again.images, outcome.images)


def test_it_does_not_believe_in_encodings_that_share_nothing() -> None:
    """As many encodings of the same form, each of images of its own."""
    alone = draw(COUNT * 30, SIZE, rng=np.random.default_rng(9))
    once = replace(METHOD, encodings=1)
    outcome = Unmixing().run(view_of(once, Labelled(alone.images, alone.labels), claimed=METHOD))
    assert outcome.confidence is not None and outcome.confidence < 0.35


@pytest.fixture(scope="module")
def known() -> Mixtures:
    """Mixtures of the images, of those encodings whose places can be told by class."""
    numbers = METHOD.release(PRIVATE, PUBLIC, None, 10, STREAM)
    absolute = np.abs(numbers[ENCODINGS].reshape(len(numbers[LABELS]), -1).astype(np.float32))
    slots, nothing = Slots.of(numbers[LABELS], 3), np.zeros(len(absolute), np.float32)
    return Mixtures(absolute, (SIZE, SIZE, 3), slots, nothing, 0.0, Prior.of(PUBLIC), 1e-3)


def held(mixtures: Mixtures) -> np.ndarray:
    """The image in each place."""
    private = METHOD.plan(COUNT, len(PUBLIC), STREAM).private[mixtures.slots.rows]
    return private[PRIVATE.labels[private] == mixtures.slots.classes[:, None]].astype(np.intp)


def test_with_all_places_known_images_follow_but_for_one_sign_of_all(known: Mixtures) -> None:
    regression = Regression(known, held(known), np.ones(len(known.slots.rows), np.float32), COUNT)
    found = known.prior.mean + regression.polished(regression.spread_out(np.random.default_rng(0)), 10)
    wanted = signed(PRIVATE.images)
    alike = [np.corrcoef(one, other)[0, 1] for one, other in zip(found, wanted, strict=True)]
    assert np.median(np.abs(alike)) > 0.95 and abs(np.sign(alike).sum()) == COUNT
    turned = -found - known.prior.mean  # all signs turned, about the mean
    upright = known.prior.mean + known.prior.upright(turned)
    assert np.median([np.corrcoef(one, other)[0, 1] for one, other in zip(upright, wanted, strict=True)]) > 0.95


def test_with_the_images_known_places_follow(known: Mixtures) -> None:
    truth, about = held(known), signed(PRIVATE.images) - known.prior.mean
    of_class = [np.flatnonzero(PRIVATE.labels == label) for label in range(10)]
    most = max(map(len, of_class))
    padded = np.array([[*images, *[-1] * (most - len(images))] for images in of_class])
    candidates = padded[known.slots.classes]
    assigned, trust = reassigned(known, about, candidates[:, 0], candidates, 10)
    for _ in range(3):
        assigned, trust = reassigned(known, about, assigned, candidates, 10)
    assert (assigned == truth).mean() > 0.95 and trust.mean() > 0.95


def test_features_do_not_feel_signs_and_show_shared_images() -> None:
    numbers = METHOD.release(PRIVATE, PUBLIC, None, 10, STREAM)
    flat = numbers[ENCODINGS].reshape(len(numbers[LABELS]), -1).astype(np.float32)
    assert np.array_equal(features(flat, (SIZE, SIZE, 3)), features(np.abs(flat), (SIZE, SIZE, 3)))
    discriminant = learned(METHOD, PUBLIC)
    assert (np.diff(discriminant.strengths) <= 0).all() and discriminant.strengths.min() > 0
    places, plan = discriminant.places(features(flat, (SIZE, SIZE, 3))), METHOD.plan(COUNT, len(PUBLIC), STREAM)
    first = plan.private[plan.weights.argmax(axis=1).astype(int) == 0, 0]
    heavy = places[plan.weights.argmax(axis=1) == 0] * discriminant.strengths
    products = heavy @ places[plan.weights.argmax(axis=1) == 0].T
    same = (first[:, None] == first) & ~np.eye(len(first), dtype=bool)
    assert products[same].mean() > products[~same & ~np.eye(len(first), dtype=bool)].mean() + 0.2 * products.std()


def test_slots_are_of_labels_that_name_all_their_images() -> None:
    labels = np.array([[0.4, 0.6, 0], [1, 0, 0], [0.2, 0, 0.1]], np.float32)
    slots = Slots.of(labels, 2)
    assert slots.rows.tolist() == [0, 0, 2, 2] and slots.classes.tolist() == [0, 1, 0, 2]
    assert slots.weights == pytest.approx([0.4, 0.6, 0.2, 0.1]) and places_in(slots.rows).tolist() == [0, 1, 0, 1]
    assert slots.among(np.array([False, True, True])).rows.tolist() == [2, 2]
    assert sizes_of(np.array([[3.1, 1.0], [0.9, 1.0]], np.float32), 6) == [4, 2]
    assert uneven(METHOD) == 0 and 1 / 4 < uneven(Instahide(SIZE, mixing=6, mixing_public=4)) < 0.5


def test_images_are_matched_by_the_rows_that_hold_them_and_not_by_their_looks() -> None:
    found = np.stack([np.full((2, 2, 1), value, np.float32) for value in (10, 20)])
    held_ = np.array([[0, 1], [1, 2], [1, 1], [0, 2]], np.int32)
    named = np.array([[1, 0], [0, -1], [0, 0], [-1, -1]])
    result = matched(found, named, held_, 3)
    assert result.images[:, 0, 0, 0].tolist() == [20, 10, 127.5]
    assert result.right == pytest.approx(4 / 8)  # an image that is twice in a row counts once


def test_it_is_run_by_its_form_and_says_why_where_it_is_not() -> None:
    assert SET_ATTACKS["unmixing"] is Unmixing
    view = replace(view_of(replace(METHOD, encodings=2)), public=PUBLIC[:20])
    (record,) = attacked(view, set_attacks(Budget(seed=3)), 40)
    assert (record.level, record.attack, record.stolen) == ("L1", "unmixing", 40)
    assert record.problem == "unmixing learns from at least 100 public images; got 20. Raise data.public."
    assert attacked(replace(view, about=replace(view.about, form="noisy_sums")), set_attacks(Budget()), 40) == []


def test_what_is_too_much_or_too_little_is_refused_with_a_remedy() -> None:
    view = view_of(METHOD)
    many = replace(view, about=replace(view.about, settings={**METHOD.settings, "encodings": 1.0}))
    numbers = {name: np.repeat(values, 4, axis=0) for name, values in view.numbers.items()}
    with pytest.raises(PrivpipeError, match=r"^unmixing solves for up to 2,000 images together; 2,400 are in"):
        Unmixing().run(replace(many, numbers=numbers))
    one_class = {**view.numbers, LABELS: np.eye(10, dtype=np.float32)[np.zeros(len(view.numbers[LABELS]), int)]}
    with pytest.raises(PrivpipeError, match=r"^unmixing needs 100 encodings whose label names 3 classes; got 0\."):
        Unmixing().run(replace(view, numbers=one_class))
    other = replace(view.about, method="dp_statistics", settings={})
    with pytest.raises(PrivpipeError, match=r"^unmixing is for instahide; got dp_statistics\."):
        Unmixing().run(replace(view, about=other))
