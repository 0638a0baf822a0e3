"""Scores of attempts: planted successes, chance, and a dictionary that never changes its keys."""

import json
from collections.abc import Mapping
from dataclasses import replace
from math import factorial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.records import Record, as_images
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, KeyStream
from privpipe.scores.base import Attempt, Score, worst
from privpipe.scores.fidelity import psnr, ssim
from privpipe.scores.measures.reidentified import reidentify
from privpipe.scores.privacy import (
    BASELINES,
    LEVELS,
    Row,
    baseline_images,
    best,
    chance_key_recovery,
    key_recovery,
    metrics,
    needed,
    score_images,
    score_matching,
    score_record,
)
from privpipe.scores.registry import SCORES, scores

RNG = np.random.default_rng(0)
DRAWN = draw(40, 16, rng=np.random.default_rng(1))
ORIGINALS, LABELS = DRAWN.images, DRAWN.labels
KEY = KeyStream(bytes(range(32)))
SCRAMBLE = METHODS["block_scramble"](16, 4, "dataset", 0, KEY)


def recognise(shown: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The class of the original nearest in mean colour: right on the originals."""
    colours, known = (images.mean(axis=(1, 2)) for images in (shown, ORIGINALS))
    nearest = np.square(colours[:, None] - known).sum(axis=2).argmin(axis=1)
    return np.asarray(LABELS[nearest], np.int64)


ATTEMPT = Attempt(ORIGINALS, LABELS, recognise)


def scored(images: NDArray[Any]) -> Mapping[str, float | None]:
    return score_images(replace(ATTEMPT, images=as_images(images)))


OF_IMAGES = ("psnr", "psnr_worst", "ssim", "ssim_worst", "reidentified_top1", "reidentified_top5", "recognised")
OF_KEYS = ("key_recovery", "blocks_recovered")
NOTHING = dict.fromkeys((*OF_IMAGES, *OF_KEYS))


def test_the_worst_is_the_mean_of_the_top_percent_and_at_least_one() -> None:
    values = RNG.permutation(np.arange(1000.0))
    assert worst(values) == np.mean(np.arange(990, 1000))
    assert worst(np.array([3.0, 5.0, 4.0])) == 5
    assert worst(values, higher_is_better=False) == np.mean(np.arange(10))


def test_reidentification_counts_ranks() -> None:
    similarity = np.eye(10)
    assert [reidentify(similarity, among) for among in (1, 5)] == [1, 1]
    similarity[0, 3] = 2  # the true one is second
    similarity[1, [0, 2, 3, 4, 5]] = 2  # the true one is sixth
    assert [reidentify(similarity, among) for among in (1, 5)] == [0.8, 0.9]


def test_ties_count_as_on_average_when_broken_at_random() -> None:
    assert reidentify(np.zeros((20, 20))) == pytest.approx(1 / 20)
    assert reidentify(np.zeros((20, 20)), 5) == pytest.approx(5 / 20)
    similarity = np.round(RNG.normal(size=(6, 9)))  # many ties
    wins = np.zeros(2)
    draws = 4000
    for _ in range(draws):
        broken = similarity + 0.1 * RNG.random(similarity.shape)
        ranks = (broken > np.diagonal(broken)[:, None]).sum(axis=1)
        wins += [(ranks < 1).mean(), (ranks < 5).mean()]
    np.testing.assert_allclose([reidentify(similarity, among) for among in (1, 5)], wins / draws, atol=0.02)


@pytest.mark.parametrize("similarity", [np.zeros((3, 2)), np.zeros((0, 2)), np.full((2, 2), np.nan), np.zeros(3)])
def test_refuses_what_is_no_similarity(similarity: NDArray[np.float64]) -> None:
    with pytest.raises(PrivpipeError, match=r"must be \(T, G\) without NaN.*Put the true image of row i in column i"):
        reidentify(similarity)


def test_key_recovery_of_permutations_counts_pixels_and_blocks() -> None:
    truth = SCRAMBLE.dataset_key
    assert truth is not None
    found = truth.copy()
    found[0, [0, 1]] = found[0, [1, 0]]
    recovery = key_recovery(SCRAMBLE, found, truth)
    assert recovery is not None
    assert recovery.pixels == pytest.approx(1 - 2 / truth.size)
    assert recovery.blocks == pytest.approx(15 / 16)


def test_key_recovery_is_a_mean_over_images_where_each_has_its_key() -> None:
    method = METHODS["block_scramble"](16, 4, "image", 0, KEY)
    truth = method.image_keys(np.zeros((5, 16, 16, 3), np.uint8))
    assert truth is not None
    one = key_recovery(SCRAMBLE, truth[2], truth)
    assert one is not None and one.blocks == pytest.approx(1 / 5, abs=0.01)
    assert one.pixels == pytest.approx(np.mean([(truth[2] == key).mean() for key in truth]))
    every = key_recovery(SCRAMBLE, truth, truth[:3])
    assert every is not None and every.pixels == 1


@pytest.mark.parametrize("name", ["random_filter", "block_mix", "gaussian_noise", "correlated_noise"])
def test_key_recovery_of_weights_is_the_cosine_up_to_scale_and_sign(name: str) -> None:
    truth = METHODS[name](16, 1 if name == "gaussian_noise" else 4 if name == "block_mix" else 3, "dataset", 9.0, KEY)
    key = truth.dataset_key
    assert key is not None
    exact = key_recovery(truth, -0.3 * key, key)
    assert exact is not None and exact.pixels == pytest.approx(1) and exact.blocks is None
    nothing = key_recovery(truth, np.zeros_like(key), key)
    assert nothing is not None and nothing.pixels == 0
    half = key_recovery(truth, key + 1, key)
    parts = zip(key + 1, key, strict=True) if name == "block_mix" else [(key + 1, key)]
    flat = [(one.ravel(), other.ravel()) for one, other in parts]
    expected = np.mean([abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in flat])
    assert half is not None and half.pixels == pytest.approx(expected)


def test_no_key_no_recovery() -> None:
    assert key_recovery(METHODS["gaussian_blur"](16, 3), np.zeros(3), np.zeros(3)) is None
    assert key_recovery(SCRAMBLE, None, np.zeros((4, 4))) is None
    assert key_recovery(METHODS["random_filter"](16, 3), np.zeros((3, 3)), None) is None
    assert chance_key_recovery(METHODS["pixelate"](32, 4)) is None


def test_refuses_a_key_of_another_shape() -> None:
    with pytest.raises(PrivpipeError, match=r"true one, \(5, 5\); got \(3, 3\)\. Return it in the form of"):
        key_recovery(METHODS["random_filter"](16, 3), np.zeros((3, 3)), np.zeros((5, 5)))


@pytest.mark.parametrize(
    ("name", "k", "shape"), [("random_filter", 3, (9,)), ("block_mix", 2, (16,)), ("gaussian_noise", 1, (48,))]
)
def test_chance_of_directions_is_that_of_random_vectors(name: str, k: int, shape: tuple[int, ...]) -> None:
    vectors = RNG.normal(size=(20_000, *shape))
    cosines = np.abs(vectors[:, 0]) / np.linalg.norm(vectors, axis=1)
    expected = chance_key_recovery(METHODS[name](4, k))
    assert expected is not None and expected.pixels == pytest.approx(cosines.mean(), rel=0.02)


def test_chance_of_smoothed_noise_is_that_of_other_draws() -> None:
    smoothed = METHODS["correlated_noise"](16, 7, "image", 9.0, KEY)
    fields = smoothed.image_keys(np.zeros((200, 16, 16, 3), np.uint8))
    assert fields is not None
    recoveries = [key_recovery(smoothed, a, b) for a, b in zip(fields[::2], fields[1::2], strict=True)]
    measured = np.mean([recovery.pixels for recovery in recoveries if recovery is not None])
    expected = chance_key_recovery(smoothed)
    assert expected is not None and expected.pixels == pytest.approx(measured, rel=0.25)


def test_chance_of_permutations() -> None:
    expected = chance_key_recovery(METHODS["block_scramble"](32, 2))
    assert expected is not None and (expected.pixels, expected.blocks) == (1 / 4, 1 / factorial(4))


def test_scores_of_the_originals_themselves_are_full() -> None:
    full = dict(zip(OF_IMAGES, (60, 60, pytest.approx(1), pytest.approx(1), 1, 1, 1), strict=True))
    assert scored(ORIGINALS) == full


def test_a_record_is_scored_by_its_images_and_its_key() -> None:
    images = np.random.default_rng(3).normal(ORIGINALS, 20).astype(np.float32)
    truth = np.array([[0, 1, 2, 3]])
    record = Record("L1", "trial", 0, 100, 2.5, 0.7, images, truth[:, ::-1])
    attempt = replace(ATTEMPT, key=key_recovery(SCRAMBLE, record.key, truth))
    row = score_record(record, attempt, scored)
    assert (row.level, row.attack, row.pairs, row.stolen) == ("L1", "trial", 0, 100)
    assert row.scores["psnr"] == pytest.approx(psnr(ORIGINALS, images).mean())
    assert row.scores["ssim_worst"] == pytest.approx(ssim(ORIGINALS, images).max())
    assert [row.scores[name] for name in ("reidentified_top1", *OF_KEYS)] == [1, 0, 0]
    assert (row.confidence, row.seconds) == (0.7, 2.5)
    assert row.cells()["stolen"] == 100 and row.cells()["psnr"] == row.scores["psnr"]
    assert list(row.cells()) == ["level", "attack", "pairs", "stolen", *NOTHING, "confidence", "seconds"]
    only_key = score_record(replace(record, images=None), attempt, scored)
    assert only_key.scores == {"key_recovery": 0, "blocks_recovered": 0}
    assert (only_key.confidence, only_key.seconds) == (0.7, 2.5)


def test_the_matching_needs_no_images_back() -> None:
    targets = METHODS["block_scramble"](16, 4, "image", 0, KEY).apply(ORIGINALS)
    row = score_matching(targets, ATTEMPT, SCRAMBLE)
    assert (row.level, row.attack) == ("L0", "matching")
    assert row.scores == dict.fromkeys(OF_IMAGES) | {"reidentified_top1": 1, "reidentified_top5": 1}


def test_what_several_scores_ask_for_is_computed_once() -> None:
    asked = []

    def work(value: int) -> int:
        asked.append(value)
        return value + 1

    attempt = replace(ATTEMPT, images=ORIGINALS)
    assert [attempt.once(work, 3), attempt.once(work, 3)] == [4, 4] and asked == [3]
    replace(attempt, images=ORIGINALS[::-1]).once(work, 5)
    assert asked == [3, 5]


class Distance(Score):
    """A score that is the better for the adversary the lower it is."""

    name = "distance"
    label = "distance, levels"
    higher_is_better = False
    digits = 2

    def measure(self, attempt: Attempt) -> float | None:
        return (
            None if attempt.images is None else float(np.abs(attempt.images - attempt.originals.astype(float)).mean())
        )


def test_a_score_more_is_in_metrics_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES._found, "distance", Distance)
    rows = [
        score_record(Record("L0", name, 0, 9, 1.0, None, images), ATTEMPT, scored)
        for name, images in (("far", 255 - ORIGINALS), ("near", ORIGINALS))
    ]
    measured = metrics(rows, {"mean_image": scored(ORIGINALS // 2)}, {}, {})
    assert measured["l0_distance"] == 0 < measured["mean_image_distance"]
    assert measured["l0_psnr"] == 60 and "chance_distance" not in measured and "original_distance" not in measured
    assert rows[1].cells()["distance"] == 0
    assert Distance().shown(1.234) == "1.23" and Distance().shown(None) == ""


def test_a_score_cannot_have_the_name_of_another_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES._found, "confidence", Distance)
    with pytest.raises(PrivpipeError, match=r"^a score is called confidence, as another column of the tables\. Rename"):
        scores()


ROWS = [
    Row("L0", "a", 0, 9, {"psnr": 20, "ssim": 0.5}, confidence=0.1, seconds=1),
    Row("L0", "b", 0, 9, {"psnr": 10, "ssim": 0.6}, confidence=0.2, seconds=2),
    Row("L0", "matching", 0, 0, {"reidentified_top1": 0.9}),
    Row("L2", "c", 5, 9, {"psnr": 5, "ssim": 0.1, "key_recovery": 0.8}, confidence=0.3, seconds=3),
    Row("L3", "key", 0, 0, {"psnr": 60, "ssim": 1}, confidence=1, seconds=0),
]


def test_the_best_takes_each_score_where_it_is_highest_at_that_level_or_below() -> None:
    for level, key in (("L0", None), ("L1", None), ("L2", 0.8)):
        chosen, highest = best(ROWS, level)
        assert chosen is ROWS[1]  # of the highest SSIM
        assert highest == NOTHING | {"psnr": 20, "ssim": 0.6, "reidentified_top1": 0.9, "key_recovery": key}
    chosen, highest = best(ROWS, "L3")
    assert (chosen, highest["psnr"], highest["key_recovery"]) == (ROWS[4], 60, 0.8)


def test_the_best_of_nothing_is_nothing() -> None:
    assert best([], "L3") == (None, NOTHING)
    assert best(ROWS[2:3], "L0") == (None, NOTHING | {"reidentified_top1": 0.9})


def test_the_metrics_have_the_same_keys_whatever_was_measured() -> None:
    baselines: dict[str, dict[str, float | None]] = {name: {} for name in BASELINES}
    empty = metrics([], baselines, {}, {})
    guessing = {score.name: score.chance(LABELS, chance_key_recovery(SCRAMBLE)) for score in scores()}
    full = metrics(ROWS, baselines, guessing, {"recognised": 0.5})
    assert list(empty) == list(full)
    assert set(empty) == {
        *(f"{level.lower()}_{name}" for level in LEVELS for name in (*NOTHING, "confidence", "seconds", "attack")),
        *(f"{name}_{score}" for name in ("mean_image", "perturbed", "other_image") for score in OF_IMAGES),
        *(f"chance_{score}" for score in ("reidentified_top1", "reidentified_top5", "recognised", *OF_KEYS)),
        "original_recognised",
    }
    assert (full["l0_attack"], full["l0_psnr"], full["chance_key_recovery"]) == ("b", 20, 1 / 16)
    assert (full["l0_confidence"], full["l0_seconds"], full["l1_attack"]) == (0.2, 2, "b")
    json.dumps(full, allow_nan=False)


def test_guessing_scores_chance() -> None:
    guessing = {score.name: score.chance(np.array([0, 1, 1, 2]), None) for score in scores()}
    assert guessing == NOTHING | {"reidentified_top1": 1 / 4, "reidentified_top5": 1, "recognised": 1 / 2}
    assert {score.name: score.chance(np.arange(20), None) for score in scores()}["reidentified_top5"] == 1 / 4


def test_baselines_need_no_attack() -> None:
    public = draw(25, 16, rng=np.random.default_rng(2)).images
    targets = METHODS["random_filter"](16, 3, "dataset", 0, KEY).apply(ORIGINALS)
    images = baseline_images(targets, public)
    np.testing.assert_allclose(images["mean_image"][7], public.mean(axis=0), rtol=1e-5)
    # Each once before any comes twice, and not in the order of the set, where classes come in turn.
    order = [int((public == image).all(axis=(1, 2, 3)).argmax()) for image in images["other_image"]]
    assert sorted(order[:25]) == list(range(25)) and order[:25] != list(range(25))
    assert order[25:] == order[:15]
    for statistic in (np.mean, np.std):
        np.testing.assert_allclose(
            statistic(images["perturbed"], axis=(0, 1, 2)), statistic(public, axis=(0, 1, 2)), rtol=1e-2
        )
    blurred = METHODS["gaussian_blur"](16, 3).apply(ORIGINALS)
    np.testing.assert_array_equal(baseline_images(blurred, public)["perturbed"], blurred)
    assert scored(images["mean_image"])["reidentified_top1"] == pytest.approx(1 / len(ORIGINALS))


def test_the_cost_is_the_smallest_count_that_reaches_a_share_and_keeps_it() -> None:
    counts, recoveries = [100, 1000, 300, 3000], [0.2, 0.95, 0.6, 1.0]
    assert needed(counts, recoveries) == (300, 1000, 3000)
    assert needed(counts, recoveries, (0.1,)) == (100,)
    assert needed(counts, [0.95, 0.4, 0.6, 0.98]) == (3000, 3000, None)
    assert needed([], []) == (None, None, None)
