"""Scores of attempts: planted successes, chance, and a dictionary that never changes its keys."""

import json
from dataclasses import replace
from math import factorial

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.records import Record
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, KeyStream
from privpipe.scores.fidelity import psnr, ssim
from privpipe.scores.privacy import (
    ACHIEVED,
    LEVELS,
    OF_CHANCE,
    OF_IMAGES,
    Row,
    Scores,
    baseline_images,
    best,
    chance,
    chance_key_recovery,
    key_recovery,
    metrics,
    needed,
    reidentify,
    score_images,
    score_matching,
    score_record,
    worst,
)

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


def test_the_worst_is_the_mean_of_the_top_percent_and_at_least_one() -> None:
    values = RNG.permutation(np.arange(1000.0))
    assert worst(values) == np.mean(np.arange(990, 1000))
    assert worst(np.array([3.0, 5.0, 4.0])) == 5


def test_reidentification_counts_ranks() -> None:
    similarity = np.eye(10)
    assert reidentify(similarity) == (1, 1)
    similarity[0, 3] = 2  # the true one is second
    similarity[1, [0, 2, 3, 4, 5]] = 2  # the true one is sixth
    assert reidentify(similarity) == (0.8, 0.9)


def test_ties_count_as_on_average_when_broken_at_random() -> None:
    assert reidentify(np.zeros((20, 20))) == (pytest.approx(1 / 20), pytest.approx(5 / 20))
    similarity = np.round(RNG.normal(size=(6, 9)))  # many ties
    wins = np.zeros(2)
    draws = 4000
    for _ in range(draws):
        broken = similarity + 0.1 * RNG.random(similarity.shape)
        ranks = (broken > np.diagonal(broken)[:, None]).sum(axis=1)
        wins += [(ranks < 1).mean(), (ranks < 5).mean()]
    np.testing.assert_allclose(reidentify(similarity), wins / draws, atol=0.02)


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
    scores = score_images(ORIGINALS, LABELS, ORIGINALS.astype(np.float32), recognise)
    assert scores == Scores(60, 60, pytest.approx(1), pytest.approx(1), 1, 1, 1)


def test_a_record_is_scored_by_its_images_and_its_key() -> None:
    images = np.random.default_rng(3).normal(ORIGINALS, 20).astype(np.float32)
    truth = np.array([[0, 1, 2, 3]])
    record = Record("L1", "trial", 0, 100, 2.5, 0.7, images, truth[:, ::-1])
    found = key_recovery(SCRAMBLE, record.key, truth)
    row = score_record(record, ORIGINALS, LABELS, recognise, found)
    scores = row.scores
    assert (row.level, row.attack, row.pairs, row.stolen) == ("L1", "trial", 0, 100)
    assert scores.psnr == pytest.approx(psnr(ORIGINALS, images).mean())
    assert scores.ssim_worst == pytest.approx(ssim(ORIGINALS, images).max())
    assert (scores.reidentified_top1, scores.key_recovery, scores.blocks_recovered) == (1, 0, 0)
    assert (scores.confidence, scores.seconds) == (0.7, 2.5)
    assert row.cells()["stolen"] == 100 and row.cells()["psnr"] == scores.psnr
    only_key = score_record(replace(record, images=None), ORIGINALS, LABELS, recognise, found)
    assert only_key.scores == Scores(key_recovery=0, blocks_recovered=0, confidence=0.7, seconds=2.5)


def test_the_matching_needs_no_images_back() -> None:
    targets = METHODS["block_scramble"](16, 4, "image", 0, KEY).apply(ORIGINALS)
    row = score_matching(targets, ORIGINALS, SCRAMBLE)
    assert (row.level, row.attack, row.scores) == (
        "L0",
        "matching",
        Scores(reidentified_top1=1, reidentified_top5=1),
    )


ROWS = [
    Row("L0", "a", 0, 9, Scores(psnr=20, ssim=0.5, confidence=0.1, seconds=1)),
    Row("L0", "b", 0, 9, Scores(psnr=10, ssim=0.6, confidence=0.2, seconds=2)),
    Row("L0", "matching", 0, 0, Scores(reidentified_top1=0.9)),
    Row("L2", "c", 5, 9, Scores(psnr=5, ssim=0.1, key_recovery=0.8, confidence=0.3, seconds=3)),
    Row("L3", "key", 0, 0, Scores(psnr=60, ssim=1, confidence=1, seconds=0)),
]


def test_the_best_takes_each_score_where_it_is_highest_at_that_level_or_below() -> None:
    for level, key in (("L0", None), ("L1", None), ("L2", 0.8)):
        attack, scores = best(ROWS, level)
        assert attack == "b"  # of the highest SSIM, with its own confidence and seconds
        assert scores == Scores(psnr=20, ssim=0.6, reidentified_top1=0.9, key_recovery=key, confidence=0.2, seconds=2)
    attack, scores = best(ROWS, "L3")
    assert (attack, scores.psnr, scores.key_recovery, scores.seconds) == ("key", 60, 0.8, 0)


def test_the_best_of_nothing_is_nothing() -> None:
    assert best([], "L3") == (None, Scores())
    assert best(ROWS[2:3], "L0") == (None, Scores(reidentified_top1=0.9))


def test_the_metrics_have_the_same_keys_whatever_was_measured() -> None:
    baselines = dict.fromkeys(("mean_image", "perturbed", "other_image"), Scores())
    empty = metrics([], baselines, Scores(), 0.5)
    full = metrics(ROWS, baselines, chance(LABELS, chance_key_recovery(SCRAMBLE)), 0.5)
    assert list(empty) == list(full)
    assert set(empty) == {
        *(f"{level.lower()}_{name}" for level in LEVELS for name in (*ACHIEVED, "confidence", "seconds", "attack")),
        *(f"{name}_{score}" for name in baselines for score in OF_IMAGES),
        *(f"chance_{score}" for score in OF_CHANCE),
        "original_recognised",
    }
    assert {"l0_psnr", "l2_blocks_recovered", "l3_attack", "mean_image_ssim", "perturbed_recognised"} <= set(empty)
    assert (full["l0_attack"], full["l0_psnr"], full["chance_key_recovery"]) == ("b", 20, 1 / 16)
    json.dumps(full, allow_nan=False)


def test_guessing_scores_chance() -> None:
    guessing = chance(np.array([0, 1, 1, 2]), None)
    assert guessing == Scores(reidentified_top1=1 / 4, reidentified_top5=1, recognised=1 / 2)
    assert chance(np.arange(20), None).reidentified_top5 == 1 / 4


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
    scores = score_images(ORIGINALS, LABELS, images["mean_image"], recognise)
    assert scores.reidentified_top1 == pytest.approx(1 / len(ORIGINALS))


def test_the_cost_is_the_smallest_count_that_reaches_a_share_and_keeps_it() -> None:
    counts, recoveries = [100, 1000, 300, 3000], [0.2, 0.95, 0.6, 1.0]
    assert needed(counts, recoveries) == (300, 1000, 3000)
    assert needed(counts, recoveries, (0.1,)) == (100,)
    assert needed(counts, [0.95, 0.4, 0.6, 0.98]) == (3000, 3000, None)
    assert needed([], []) == (None, None, None)
