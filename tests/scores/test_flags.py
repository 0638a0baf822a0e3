"""Flags: each sign that the attacks may be weaker than they could be, and none where all is well."""

from typing import Any

import pytest

from privpipe.scores.flags import flags
from privpipe.scores.privacy import Row

METRICS: dict[str, Any] = {"mean_image_ssim": 0.1, "perturbed_ssim": 0.3, "other_image_ssim": 0.05}


def row(confidence: float | None, ssim: float | None = None, key: float | None = None, level: str = "L1") -> Row:
    return Row(level, "mine", 0, 100, {"ssim": ssim, "key_recovery": key}, confidence)


@pytest.mark.parametrize(
    "attempt",
    [
        row(None, 0.9),
        row(0.99, 0.29),  # no worse than the upload itself, to 0.02
        row(0.99, 0.1, key=0.95),
        row(0.05, 0.45),
        row(0.5, 0.1),
        row(1.0, 0.1, level="L3"),
    ],
)
def test_no_flag_where_confidence_and_scores_agree(attempt: Row) -> None:
    assert flags([attempt], METRICS, [], {"network at L1": 0.02}) == []


def test_an_attack_that_is_sure_of_what_is_wrong() -> None:
    (flag,) = flags([row(0.95, 0.2)], METRICS, [], {})
    assert flag == (
        "confidence: mine at L1 is sure (0.95), and its images (SSIM 0.200) are no better than those that need no "
        "attack (0.300)."
    )


def test_an_attack_that_does_not_believe_what_is_right() -> None:
    by_images, by_key = (flags([one], METRICS, [], {})[0] for one in (row(0.01, 0.6), row(0.1, key=0.92)))
    assert by_images == "confidence: mine at L1 does not believe itself (0.01), and reaches an SSIM of 0.600."
    assert by_key == "confidence: mine at L1 does not believe itself (0.10), and found 92% of the key."


def test_of_an_attack_with_few_and_many_pairs_the_last_counts() -> None:
    assert flags([row(0.0, key=0.95), row(0.9, key=1.0)], METRICS, [], {}) == []


def test_a_network_that_was_still_learning() -> None:
    (flag,) = flags([], METRICS, [], {"restoration_network at L2": 0.034, "other at L1": -0.2})
    assert flag == "network: restoration_network at L2 gains 0.034 of SSIM by twice the steps; it was still learning."


def test_targets_that_are_too_alike() -> None:
    (flag,) = flags([], {**METRICS, "other_image_ssim": 0.62}, [], {})
    assert flag == "targets: they are too alike, for another image has an SSIM of 0.620 with them on average."


def test_an_attack_that_refused_and_none_that_was_not_needed() -> None:
    needless = "pixel_correlation at L0 found the key with a confidence of 0.97"
    problems = [
        ("L1", "network", 0, "too few images"),
        ("L2", "pairs", 1, "too few"),
        ("L2", "pairs", 10, "too few"),
        ("L1", "costly", 0, needless),
        ("L3", "key", 0, "too large"),
    ]
    assert flags([], METRICS, problems, {}) == [
        "not run: network at L1: too few images",
        "not run: pairs at L2: too few",
    ]
