"""What attacks achieved, measured against the originals: the owner's view, who may see everything.

Every attempt is scored by all of `privpipe/scores/measures`, and so are baselines that need no attack.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from privpipe.attacks.linkage import method_similarity
from privpipe.attacks.records import Record
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images, Perturbation
from privpipe.perturb.keys import KeyRecovery
from privpipe.perturb.values import Floats, pixel_values
from privpipe.scores.base import Attempt
from privpipe.scores.registry import scores

LEVELS = ("L0", "L1", "L2", "L3")  # each knows what those before it know
MATCHING = "matching"  # the name of re-identification without a reconstruction
LEADING = "ssim"  # the score by which one attack is called the best
BASELINES = {"mean_image": "mean image", "perturbed": "as uploaded", "other_image": "another image"}

COLOURS = 3


def key_recovery(method: Perturbation, guess: Array | None, truth: Array | None) -> KeyRecovery | None:
    """Compare a found key with the true one; None for methods without a key or where none was sought.

    Args:
        method: the transformation; its own key is not used.
        guess: as `Perturbation.dataset_key`, or as its `image_keys`.
        truth: either again. Where one of them is of each image, the mean over the images is given; where both are,
            over those that both have, the first ones.

    Raises:
        PrivpipeError: the shapes do not go together, or the method does not say how its keys compare.
    """
    if not method.keyed or guess is None or truth is None:
        return None
    form = method.key_form(COLOURS)
    axes = 0 if form is None else len(form)
    if guess.ndim == truth.ndim == axes + 1:
        count = min(len(guess), len(truth))
        guess, truth = guess[:count], truth[:count]
    if {guess.ndim, truth.ndim} - {axes, axes + 1} or guess.shape[-axes:] != truth.shape[-axes:]:
        raise PrivpipeError(
            f"a found key of {method.name} must have the shape of the true one, {truth.shape}; got {guess.shape}. "
            "Return it in the form of Perturbation.dataset_key."
        )
    return method.key_similarity(guess, truth)


def chance_key_recovery(method: Perturbation, channels: int = COLOURS) -> KeyRecovery | None:
    """What a key drawn at random would score; None for methods without a key.

    Raises:
        PrivpipeError: the method does not say.
    """
    return method.chance_key_similarity(channels) if method.keyed else None


Scored = Mapping[str, float | None]  # by the names of scores; None where one was not measured


def score_images(attempt: Attempt) -> dict[str, float | None]:
    """Every score of the reconstructions of an attempt, by name."""
    return {score.name: score.measure(attempt) for score in scores() if score.of_images}


@dataclass(frozen=True)
class Row:
    """One attempt and its scores: a row of the report's table.

    Args:
        level, attack, pairs, stolen, confidence, seconds: see `privpipe.attacks.records.Record`.
        scores: by name; those that are missing were not measured.
    """

    level: str
    attack: str
    pairs: int
    stolen: int
    scores: Scored
    confidence: float | None = None
    seconds: float | None = None

    def cells(self) -> dict[str, str | int | float | None]:
        """The columns level, attack, pairs, stolen, every score, confidence and seconds."""
        cells: dict[str, str | int | float | None] = {"level": self.level, "attack": self.attack}
        cells |= {"pairs": self.pairs, "stolen": self.stolen}
        cells |= {score.name: self.scores.get(score.name) for score in scores()}
        return cells | {"confidence": self.confidence, "seconds": self.seconds}


def score_record(record: Record, attempt: Attempt, score: Callable[[Array], Scored]) -> Row:
    """Score an attempt: its images by `score`, which gives what `score_images` does, and its key."""
    of_images = {} if record.images is None else score(record.images)
    others = {other.name: other.measure(attempt) for other in scores() if not other.of_images}
    measured = {**of_images, **others}
    return Row(record.level, record.attack, record.pairs, record.stolen, measured, record.confidence, record.seconds)


def score_matching(targets: Array, attempt: Attempt, method: Perturbation) -> Row:
    """Re-identification of the perturbed images themselves: no reconstruction, no key, only the method (level L0).

    Args:
        targets: perturbed images as stored, (T, H, W, C).
        attempt: on the same originals.
    """
    matching = method_similarity(targets, attempt.originals, method)
    return Row(LEVELS[0], MATCHING, 0, 0, score_images(replace(attempt, matching=matching)))


def best(rows: Sequence[Row], level: str) -> tuple[Row | None, dict[str, float | None]]:
    """What is achieved by whoever tries all attacks of `level` and of the levels below it.

    Returns:
        The attempt of the highest mean SSIM, the first of equal ones, None where there are no images; and for every
        score what serves the adversary best, of all attempts.
    """
    within = [row for row in rows if LEVELS.index(row.level) <= LEVELS.index(level)]
    highest: dict[str, float | None] = {}
    for score in scores():
        measured = [value for row in within if (value := row.scores.get(score.name)) is not None]
        highest[score.name] = (max if score.higher_is_better else min)(measured, default=None)
    shown = [(ssim, row) for row in within if (ssim := row.scores.get(LEADING)) is not None]
    chosen = max(shown, key=lambda one: one[0], default=None)
    return None if chosen is None else chosen[1], highest


def baseline_images(targets: Array, public: Images) -> dict[str, Array]:
    """Reconstructions that need no attack, each (T, H, W, C) in levels.

    - `mean_image`: the mean of the public images, every time.
    - `perturbed`: the perturbed image as it is where it is uint8. As float16 it may have any range: one affine map per
      colour, the same for all images, gives it the mean and standard deviation of the public images.
    - `other_image`: a public image drawn at random, which has nothing to do with the target. In order it would: sets
      have their classes in turn.

    Of uploads that are features the second is missing: they are no images.

    Args:
        targets: perturbed images as stored, (T, H, W, C).
        public: other images, uint8 (M, H, W, C); fewer than T are used in turn.
    """
    mean = public.mean(axis=0, dtype=np.float64).astype(np.float32)
    mean = np.broadcast_to(mean, (len(targets), *mean.shape))
    drawn = np.random.default_rng(0).permutation(len(public))
    other = public[drawn[np.arange(len(targets)) % len(public)]]
    seen = {"perturbed": _like_public(targets, public)} if targets.shape[1:] == public.shape[1:] else {}
    return {"mean_image": mean, **seen, "other_image": other}


def _like_public(targets: Array, public: Images) -> Floats:
    images = pixel_values(targets)
    if targets.dtype == np.uint8:
        return images
    (mean, spread), (wanted, wanted_spread) = (
        (values.mean(axis=(0, 1, 2), dtype=np.float64), values.std(axis=(0, 1, 2), dtype=np.float64))
        for values in (images, public)
    )
    scale = wanted_spread / np.where(spread > 0, spread, 1)
    return np.asarray(images * scale.astype(np.float32) + (wanted - mean * scale).astype(np.float32))


def metrics(
    rows: Sequence[Row],
    baselines: Mapping[str, Scored],
    guessing: Scored,
    originals: Scored,
    attacked: Sequence[str] = LEVELS,
) -> dict[str, str | float | None]:
    """The flat dictionary for DVC, with the same keys whatever was measured.

    Keys are `l0_psnr` and so on for every level and score, `l0_confidence` and `l0_seconds` of the attack that `best`
    names, `l0_attack`; `mean_image_psnr` and so on for every baseline and score of images; `chance_recognised` and so
    on for every score that has a chance level; and `original_recognised`, what the originals themselves score.

    Args:
        rows: all attempts.
        baselines: the scores of `baseline_images`.
        guessing: the chance level of each score that has one.
        originals: the scores of the originals.
        attacked: the levels for which there was something to know; the scores of others are None.
    """
    known, out = scores(), dict[str, str | float | None]()
    for level in LEVELS:
        chosen, highest = best(rows, level) if level in attacked else (None, {})
        prefix = level.lower()
        out |= {f"{prefix}_{score.name}": highest.get(score.name) for score in known}
        out[f"{prefix}_confidence"] = None if chosen is None else chosen.confidence
        out[f"{prefix}_seconds"] = None if chosen is None else chosen.seconds
        out[f"{prefix}_attack"] = None if chosen is None else chosen.attack
    for baseline, measured in baselines.items():
        out |= {f"{baseline}_{score.name}": measured.get(score.name) for score in known if score.of_images}
    out |= {f"chance_{score.name}": guessing.get(score.name) for score in known if score.has_chance()}
    return out | {f"original_{score.name}": originals.get(score.name) for score in known if score.of_originals}


def needed(
    counts: Sequence[int], recoveries: Sequence[float], fractions: Sequence[float] = (0.5, 0.9, 0.99)
) -> tuple[int | None, ...]:
    """The cost of an attack in data: for each fraction, the smallest count from which on recovery reaches it.

    Args:
        counts: of stolen images or known pairs that were tried, in any order.
        recoveries: 0..1, what each came to.

    Returns:
        One count per fraction; None where the largest count does not reach it. What is reached and lost again with
        more data is not reached.
    """
    measured = list(zip(counts, recoveries, strict=True))

    def holds_from(count: int, fraction: float) -> bool:
        return all(recovery >= fraction for other, recovery in measured if other >= count)

    return tuple(min((count for count in counts if holds_from(count, least)), default=None) for least in fractions)
