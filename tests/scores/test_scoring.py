"""The owner's judgement: found keys and images against the true ones, with the key as upper bound."""

import json
from pathlib import Path

import numpy as np
import pytest

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.records import Record
from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, Copies, KeyStream, Perturbation
from privpipe.perturb.values import pixel_values
from privpipe.scores import scoring
from privpipe.scores.base import Attempt
from privpipe.scores.privacy import KeyRecovery, score_images
from privpipe.scores.scoring import (
    COST_COLUMNS,
    Judgement,
    count_copies,
    data_needed,
    judge,
    load_candidates,
    load_originals,
    published,
    table_columns,
    upper_bound,
)
from privpipe.store import RAW, Header, create

ROOT = Path(__file__).parents[2]
SIZE, K = 16, 4
DRAWN = draw(60, SIZE, rng=np.random.default_rng(0))
ORIGINALS, LABELS = DRAWN.images[:20], DRAWN.labels[:20]
PUBLIC = DRAWN.images[20:]


def owner(name: str, scope: str = "dataset", k: int = K) -> Perturbation:
    return METHODS[name](SIZE, k, scope, 25.0, KeyStream(bytes(range(32))))


def held(method: Perturbation, public: np.ndarray | None = PUBLIC) -> AdversaryView:
    targets = method.apply(ORIGINALS)
    return AdversaryView(method.name, method.k, method.scope, method.sigma, method.apply(PUBLIC), targets, public)


def recognise(images: np.ndarray) -> np.ndarray:
    """Knows the originals by heart, and takes all else for class 0."""
    known = {image.tobytes(): label for image, label in zip(ORIGINALS, LABELS, strict=True)}
    return np.array([known.get(image.tobytes(), 0) for image in images])


def judged(method: Perturbation, records: list[Record], public: np.ndarray | None = PUBLIC) -> Judgement:
    return judge(held(method, public), records, ORIGINALS, LABELS, method, recognise)


def test_a_perfect_attack_and_a_failed_one() -> None:
    scramble = owner("block_scramble")
    view = held(scramble)
    records = [
        Record("L0", "as_is", 0, 40, 0.1, None, view.targets),
        Record("L1", "clever", 0, 40, 2.0, 0.9, ORIGINALS, scramble.permutations),
        Record("L1", "clever", 0, 10, 1.0, 0.2, None, np.zeros_like(scramble.permutations)),
        Record("L2", "broken", 3, 40, 1.0, problem="too few"),
    ]
    found = judged(scramble, records)
    metrics = found.metrics
    assert metrics["l0_ssim"] < 0.9 < metrics["l1_ssim"] == metrics["l3_ssim"] == 1
    assert metrics["l2_ssim"] is None  # there were no known pairs
    assert metrics["l0_key_recovery"] is None and metrics["l1_key_recovery"] == 1
    assert metrics["l1_attack"] == "clever" and metrics["l1_seconds"] == 2.0
    assert metrics["original_recognised"] == metrics["l1_recognised"] == 1
    assert (metrics["images_for_50"], metrics["images_for_99"], metrics["pairs_for_50"]) == (40, 40, None)
    assert [row.attack for row in found.rows] == ["as_is", "clever", "key", "matching"]
    assert [dict(zip(COST_COLUMNS, row, strict=True))["stolen"] for row in found.cost(in_pairs=False)] == [40, 10]
    assert found.cost(in_pairs=True) == []
    table = [dict(zip(table_columns(), row, strict=True)) for row in found.table()]
    assert [row["attack"] for row in table] == ["as_is", "clever", "key", "matching", "broken"]
    assert [row["problem"] for row in table] == [None] * 4 + ["too few"]
    np.testing.assert_array_equal(found.images["L1"][1], ORIGINALS)
    assert list(found.images) == ["L0", "L1", "L3"]


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("name", ["block_scramble", "block_mix", "gaussian_noise", "random_filter"])
def test_the_key_gives_images_back(name: str, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = owner(name, scope, 3 if name == "random_filter" else 2)
    # In chunks of seven, each image with its own key.
    monkeypatch.setattr(scoring, "KEY_BYTES", 7 * method.image_keys(ORIGINALS[:1]).nbytes)
    bound = upper_bound(held(method), method, None, ORIGINALS, Copies())
    error = np.abs(bound.images - ORIGINALS).mean()
    assert error < np.abs(pixel_values(held(method).targets) - ORIGINALS).mean() / 3
    assert judged(method, []).metrics["l3_key_recovery"] == pytest.approx(1)


def test_images_that_several_attacks_bring_are_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are the same in 8 bits alone, or those of a baseline."""
    scramble, asked = owner("block_scramble"), []
    view = held(scramble)

    def score(attempt: Attempt) -> dict[str, float | None]:
        asked.extend([] if attempt.images is None else [attempt.images])
        return score_images(attempt)

    monkeypatch.setattr("privpipe.scores.privacy.score_images", score)
    records = [
        Record("L0", "as_is", 0, 40, 0.1, None, view.targets),
        Record("L0", "one", 0, 40, 0.1, None, ORIGINALS),
        Record("L1", "other", 0, 40, 0.1, None, ORIGINALS + np.float32(0.2)),
    ]
    judgement = judged(scramble, records)
    assert [row.scores["psnr"] for row in judgement.rows[1:4]] == [60, 60, 60]  # with the key's
    assert len(asked) == 4  # as it is, the originals, the mean image, another image
    assert len({images.tobytes() for images in asked}) == 4


def test_without_a_key_there_is_no_upper_bound() -> None:
    blur = owner("gaussian_blur", k=3)
    assert upper_bound(held(blur), blur, None, ORIGINALS, Copies()) is None
    metrics = judged(blur, [Record("L0", "as_is", 0, 40, 0.1, None, held(blur).targets)]).metrics
    assert metrics["l3_ssim"] == metrics["l0_ssim"]
    assert metrics["l3_key_recovery"] is None and metrics["chance_key_recovery"] is None


def test_a_key_that_restores_nothing_is_no_upper_bound() -> None:
    """Nobody says how the key of NeuraCrypt restores: level L3 is empty, and not what lower levels brought."""
    method = METHODS["neuracrypt"](SIZE, K, "dataset", 0.0, KeyStream(bytes(range(32))), width=64)
    view = AdversaryView(
        "neuracrypt", K, "dataset", 0.0, method.apply(PUBLIC), method.apply(ORIGINALS), PUBLIC, None,
        method.settings, ORIGINALS.shape[1:],
    )  # fmt: skip
    found = judge(view, [Record("L0", "any", 0, 40, 0.1, None, ORIGINALS)], ORIGINALS, LABELS, method, recognise)
    assert ("L3", "key", 0, "neuracrypt gives features, which no linear estimate restores.") in found.problems
    assert {value for name, value in found.metrics.items() if name.startswith("l3_")} == {None}
    assert found.metrics["l1_ssim"] == 1 and list(found.images) == ["L0", "L1"]
    assert found.metrics.keys() == judged(owner("block_scramble"), []).metrics.keys()


@pytest.mark.parametrize("public", [None, PUBLIC[:1]])
def test_without_public_images_and_without_attacks(public: np.ndarray | None) -> None:
    metrics = judged(owner("block_mix"), [], public=public).metrics
    assert metrics["l0_ssim"] is None and metrics["l0_reidentified_top1"] is not None
    assert metrics["mean_image_ssim"] is not None and metrics["l3_ssim"] is not None
    assert metrics.keys() == judged(owner("gaussian_blur", k=3), []).metrics.keys()


def test_levels_without_their_data_were_not_measured() -> None:
    scramble = owner("block_scramble")
    metrics = judged(scramble, [Record("L0", "as_is", 0, 40, 0.1, None, ORIGINALS)], public=None).metrics
    assert metrics["l0_ssim"] == metrics["l3_ssim"] == 1
    for level in ("l1", "l2"):
        assert {value for name, value in metrics.items() if name.startswith(level)} == {None}


def test_a_key_without_images_counts() -> None:
    scramble = owner("block_scramble")
    found = judged(scramble, [Record("L0", "keyhole", 0, 40, 1.0, 0.9, None, scramble.permutations)])
    assert found.metrics["l0_key_recovery"] == 1 and found.metrics["l0_ssim"] is None


def test_a_kernel_too_large_for_matching_is_noted() -> None:
    found = judged(owner("random_filter", k=15), [])
    assert found.problems == []
    large = METHODS["random_filter"](32, 17, "dataset", 0.0, KeyStream(bytes(range(32))))
    originals = draw(3, 32, rng=np.random.default_rng(0))
    targets = large.apply(originals.images)
    view = AdversaryView("random_filter", 17, "dataset", 0.0, targets, targets, originals.images)
    judgement = judge(view, [], originals.images, originals.labels, large, lambda images: np.zeros(len(images), int))
    assert [problem[:2] for problem in judgement.problems] == [("L0", "matching")]
    assert "kernels up to 15×15" in judgement.problems[0][3]


def test_a_shared_key_found_where_every_image_has_its_own_is_at_chance() -> None:
    scramble = owner("block_scramble", "image")
    found = np.tile(np.arange(K * K, dtype=np.int32), (16, 1))
    metrics = judged(scramble, [Record("L0", "guess", 0, 40, 1.0, 0.0, PUBLIC[:20], found)]).metrics
    assert metrics["l0_key_recovery"] == pytest.approx(metrics["chance_key_recovery"], abs=0.02)


def test_images_and_pairs_are_counted_apart_and_the_best_attack_counts() -> None:
    def record(level: str, stolen: int, pairs: int) -> Record:
        return Record(level, "any", pairs, stolen, 1.0)

    measured = [
        (record("L0", 100, 0), KeyRecovery(0.1, None)),
        (record("L1", 100, 0), KeyRecovery(0.6, None)),
        (record("L1", 300, 0), KeyRecovery(0.95, None)),
        (record("L2", 300, 1), KeyRecovery(0.995, None)),
    ]
    assert data_needed(measured) == {
        "images_for_50": 100, "images_for_90": 300, "images_for_99": None,
        "pairs_for_50": 1, "pairs_for_90": 1, "pairs_for_99": 1,
    }  # fmt: skip


def test_originals_of_a_file(tmp_path: Path) -> None:
    write_images(tmp_path / "images.h5", DRAWN, DRAWN, {"train": np.arange(5), "test": np.arange(20)})
    images, labels = load_originals(tmp_path / "images.h5", 8)
    np.testing.assert_array_equal(images, ORIGINALS[:8])
    np.testing.assert_array_equal(labels, LABELS[:8])
    with pytest.raises(PrivpipeError, match=r"images.h5 has 20 test images; 21 were attacked. Run `dvc repro attack`"):
        load_originals(tmp_path / "images.h5", 21)


def test_candidates_are_the_test_images_first_and_no_more_than_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = draw(30, SIZE, rng=np.random.default_rng(7)), draw(20, SIZE, rng=np.random.default_rng(8))
    path = tmp_path / "images.h5"
    write_images(path, train, test, {"train": np.arange(20), "val": np.arange(20, 30), "test": np.arange(20)})
    in_order = np.concatenate([test.images, train.images[20:], train.images[:20]])
    for wanted, given in ((20, 20), (25, 25), (45, 45), (1000, 50)):
        images, labels = load_candidates(path, wanted)
        np.testing.assert_array_equal(images, in_order[:given])
        np.testing.assert_array_equal(labels[:20], test.labels)
        assert len(labels) == given
    monkeypatch.setattr(scoring, "CANDIDATE_BYTES", 3 * SIZE * SIZE * 3)
    assert len(load_candidates(path, 1000)[0]) == 3


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("l0_psnr", 17.19214065767107, 17.2),
        ("perturbed_psnr_worst", 26.131900892655864, 26.1),
        ("ssim", 0.36426579817908344, 0.364),
        ("mean_image_ssim_worst", 0.6557068416591074, 0.656),
        ("l2_confidence", 0.7187243603412486, 0.719),
        ("second_release_gain_db", 0.3070823303931469, 0.3),
        ("second_release_independent_gain_db", 0.32099366950050623, 0.3),
        ("grown_release_gain_db", 0.0364097862507613, 0.0),
        ("second_release_filters_found", 0.987654321, 0.988),
        ("grown_release_changed", 0.12345, 0.123),
        ("l0_recognised", 0.3391, 0.3391),
        ("l0_key_recovery", 0.12345678, 0.12345678),
        ("l1_ssim", None, None),
        ("l1_attack", "network", "network"),
    ],
)
def test_numbers_that_follow_from_originals_are_published_without_the_digits_that_confirm_a_guess(
    name: str, value: object, expected: object
) -> None:
    assert published({name: value}) == {name: expected}


def test_no_committed_number_that_follows_from_originals_has_more_digits_than_said() -> None:
    metrics = json.loads((ROOT / "metrics" / "privacy.json").read_text())
    by_chance = {name: value for name, value in metrics.items() if name.startswith("chance_")}  # of the method alone
    floats = {name: value for name, value in metrics.items() if isinstance(value, float) and name not in by_chance}
    assert len(floats) > 30 and all(value == round(value, 5) for value in floats.values()), floats


def test_seconds_are_not_published() -> None:
    """No two runs share them, and these files are compared byte for byte."""
    assert published({"l0_seconds": 1.5, "seconds": 2.0, "l0_ssim": 0.5}) == {"l0_ssim": 0.5}
    assert not [name for name in (*table_columns(), *COST_COLUMNS) if "seconds" in name]


@pytest.mark.parametrize("name", ["block_scramble", "gaussian_noise"])
def test_targets_whose_equals_stand_before_them_have_their_own_keys(name: str, tmp_path: Path) -> None:
    images = np.concatenate([ORIGINALS[:6], PUBLIC[:6], ORIGINALS[4:9], ORIGINALS[:10]])
    splits = {"train": slice(0, 12), "val": slice(12, 17), "test": slice(17, 27)}
    header = Header(RAW, "none", 1, "dataset", ("a", "b"), (0.0, 255.0), images.shape[1:], "uint8")
    with create(tmp_path / "images.h5", header, {split: len(images[rows]) for split, rows in splits.items()}) as writer:
        for split, rows in splits.items():
            writer.write(split, 0, images[rows], np.zeros(len(images[rows]), np.int64))
    method, written = owner(name, "image"), Copies()
    released = {split: method.apply(images[rows], written) for split, rows in splits.items()}
    targets = images[splits["test"]]
    view = AdversaryView(name, K, "image", 25.0, released["train"], released["test"], PUBLIC)
    copies = count_copies(tmp_path / "images.h5", method)
    for _ in range(2):  # the count goes on from the same place each time
        bound = upper_bound(view, method, None, targets, copies)
        assert np.abs(bound.images - targets).max() < 1
    without = upper_bound(view, method, None, targets, Copies())
    assert [bool(np.abs(a - b).max() < 1) for a, b in zip(without.images, targets, strict=True)] == 9 * [False] + [True]


def test_without_a_key_or_with_a_shared_one_nothing_is_counted(tmp_path: Path) -> None:
    copies = Copies()
    for method in (owner("gaussian_blur", "image", 3), owner("block_scramble", "dataset")):
        method.skip(ORIGINALS, copies)
    assert copies == Copies()


@pytest.mark.parametrize("name", ["gaussian_noise", "gaussian_blur"])
def test_second_releases_are_measured_with_the_rest(name: str) -> None:
    metrics = judged(owner(name, "image", 3), []).metrics
    assert (metrics["second_release_problem"] is None) == (metrics["grown_release_changed"] == 0.0)
    assert metrics["second_release_setting"] == ("sigma=50" if name == "gaussian_noise" else None)
