"""What the page says of the measured privacy."""

from dataclasses import replace
from typing import Any

import pytest

from privpipe.report.advice import findings, verdict
from privpipe.store import PERTURBED, Header

HARMLESS: dict[str, Any] = {
    **{f"l{level}_key_recovery": 0.07 for level in range(3)},
    **{f"l{level}_recognised": 0.15 for level in range(3)},
    "l0_reidentified_top1": 0.01,
    "chance_key_recovery": 0.0625,
    "chance_recognised": 0.1,
    "chance_reidentified_top1": 0.001,
    "original_recognised": 0.7,
}

WORDS = [
    ({"l0_key_recovery": 0.999, "l1_key_recovery": 1.0}, ["With the stolen file alone, 99.9 % of the key"]),
    ({"l1_key_recovery": 0.95}, ["With public images, 95.0 % of the key was recovered."]),
    ({"l2_recognised": 0.5}, ["With known pairs, a plain classifier recognises 50.0 % of the best reconstructions"]),
    ({"l0_reidentified_top1": 0.8}, ["among 1,000 candidates tells 80.0 % of the uploaded images apart"]),
    ({"l0_key_recovery": None, "l1_key_recovery": None, "l2_key_recovery": 1.0}, ["With known pairs, 100.0 %"]),
]


def test_failed_attacks_find_nothing() -> None:
    assert findings(HARMLESS) == []


@pytest.mark.parametrize(("changes", "words"), WORDS)
def test_what_succeeded_is_said(changes: dict[str, Any], words: list[str]) -> None:
    found = findings(HARMLESS | changes)
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("name", "mark"), [("l0_key_recovery", 0.9), ("l1_recognised", 0.4), ("l0_reidentified_top1", 0.5005)]
)
def test_a_finding_begins_at_its_mark(name: str, mark: float) -> None:
    """90 % of a key; else half of what lies between chance and all that could be lost."""
    assert findings(HARMLESS | {name: mark - 1e-6}) == []
    assert len(findings(HARMLESS | {name: mark + 1e-6})) == 1


def test_a_key_of_one_value_and_a_method_without_key_are_no_findings() -> None:
    assert findings(HARMLESS | {"l0_key_recovery": 1.0, "chance_key_recovery": 1.0}) == []
    nothing = {f"l{level}_key_recovery": None for level in range(3)} | {"chance_key_recovery": None}
    assert findings(HARMLESS | nothing) == []


def test_among_few_candidates_guessing_is_no_finding() -> None:
    for chance, told, found in ((1.0, 1.0, 0), (0.5, 0.5, 0), (0.5, 1.0, 1)):
        privacy = HARMLESS | {"chance_reidentified_top1": chance, "l0_reidentified_top1": told}
        assert len(findings(privacy)) == found


def test_levels_that_were_not_attacked_find_nothing() -> None:
    nothing = {f"{level}_{name}": None for level in ("l1", "l2") for name in ("key_recovery", "recognised")}
    assert findings(HARMLESS | nothing) == []


def test_a_reference_classifier_that_recognises_nothing_tells_nothing() -> None:
    assert findings(HARMLESS | {"original_recognised": 0.1, "l0_recognised": 0.1}) == []


def test_the_verdict_is_of_the_settings_of_the_file() -> None:
    header = Header(PERTURBED, "block_pixel_shuffle", 4, "image", ("a", "b"), (0.0, 255.0), (16, 16, 3), "uint8")
    assert verdict(header)[0] is False
    fixed = replace(header, settings={"blocks_fixed": 1.0, "pixels_fixed": 1.0})
    assert verdict(fixed) == (True, "All places stay fixed: these are the images.")
