"""When a result may say more of the attacks than of the method: flags beside it, as AutoAttack has them.

(Croce and Hein, ICML 2020; its page on flags.) An attack that fails proves nothing. A flag says that there is a sign
of it: an attack that believes what is wrong, a network that was stopped while it learned, images that no score could
tell apart. A flag does not change a number.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from privpipe.attacks.base import UNFIT
from privpipe.scores.privacy import BASELINES, LEADING, Row

SURE, UNSURE = 0.9, 0.1  # confidence
MORE = 0.02  # SSIM: what counts as more
FAR = 0.2  # SSIM over what needs no attack
FULL_KEY = 0.9
ALIKE = 0.5  # SSIM of an image with another one
NEEDLESS = "found the key with a confidence of"  # why a costly attack was left out, see `privpipe.attacks.suite`

Metrics = Mapping[str, Any]


def flags(
    rows: Sequence[Row], metrics: Metrics, problems: Iterable[tuple[str, str, int, str]], gains: Mapping[str, float]
) -> list[str]:
    """Sentences, each of which begins with the kind of sign; empty where there is none.

    Args:
        rows: all attempts on one file of uploads.
        metrics: of `privpipe.scores.privacy.metrics`.
        problems: as of `privpipe.scores.scoring.Judgement`.
        gains: SSIM that each network gained by training twice as long, by "attack level".
    """
    return [*_contradictions(rows, metrics), *_unconverged(gains), *_alike(metrics), *_not_run(problems)]


def _contradictions(rows: Sequence[Row], metrics: Metrics) -> list[str]:
    """Attacks whose confidence is not borne out by the scores. The key itself (L3) has none of its own."""
    needless = max(metrics.get(f"{baseline}_{LEADING}") or 0.0 for baseline in BASELINES)
    said = []
    for row in {(row.attack, row.level): row for row in rows}.values():  # the last of each: with all known pairs
        ssim, key = row.scores.get(LEADING), row.scores.get("key_recovery")
        if row.confidence is None or row.level == "L3":
            continue
        if row.confidence >= SURE and ssim is not None and ssim < needless - MORE and (key or 0.0) < FULL_KEY:
            said.append(
                f"confidence: {row.attack} at {row.level} is sure ({row.confidence:.2f}), and its images (SSIM "
                f"{ssim:.3f}) are no better than those that need no attack ({needless:.3f})."
            )
        better = ssim is not None and ssim > needless + FAR
        if row.confidence <= UNSURE and (better or (key or 0.0) >= FULL_KEY):
            said.append(
                f"confidence: {row.attack} at {row.level} does not believe itself ({row.confidence:.2f}), and "
                + (f"found {key:.0%} of the key." if (key or 0.0) >= FULL_KEY else f"reaches an SSIM of {ssim:.3f}.")
            )
    return said


def _unconverged(gains: Mapping[str, float]) -> list[str]:
    return [
        f"network: {network} gains {gain:.3f} of SSIM by twice the steps; it was still learning."
        for network, gain in gains.items()
        if gain > MORE
    ]


def _alike(metrics: Metrics) -> list[str]:
    """Where another image is nearly as good as the right one, scores of images say little."""
    ssim = metrics.get(f"other_image_{LEADING}")
    if ssim is None or ssim < ALIKE:
        return []
    return [f"targets: they are too alike, for another image has an SSIM of {ssim:.3f} with them on average."]


def _not_run(problems: Iterable[tuple[str, str, int, str]]) -> list[str]:
    """Attacks that applied and refused; one that was not needed, or is for images where there are none, is no sign."""
    expected = (NEEDLESS, UNFIT)
    reasons = {
        (attack, level): why
        for level, attack, _, why in problems
        if level != "L3" and not any(words in why for words in expected)
    }
    return [f"not run: {attack} at {level}: {why}" for (attack, level), why in reasons.items()]
