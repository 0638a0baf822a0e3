"""What attacks achieved, measured against the originals: the owner's view, who may see everything.

A reconstruction is scored by how near it is to the image (`psnr`, `ssim`), by whether the image can be told from
the others by it (`reidentify`), by whether a classifier still sees in it what the image shows (`recognised`), and
by how much of the key came with it (`key_recovery`). No one of them stands for privacy alone: an image can be
re-identified from a reconstruction in which nobody would recognise anything. Each has a baseline beside it that needs
no attack.

Scores rise with the adversary's success. A mean hides the few images that come out well, so `psnr` and `ssim` are
also given for the worst-protected 1 % of images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.linkage import image_similarity, method_similarity
from privpipe.attacks.records import Record, as_images
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images, Perturbation
from privpipe.perturb.keys import KeyRecovery
from privpipe.perturb.values import Floats, pixel_values
from privpipe.scores.fidelity import psnr, ssim

Values = NDArray[np.float64]
Recognise = Callable[[Images], NDArray[np.int64]]  # images (T, H, W, C) to predicted classes (T,)

LEVELS = ("L0", "L1", "L2", "L3")  # each knows what those before it know
MATCHING = "matching"  # the name of re-identification without a reconstruction

WORST_FRACTION = 0.01  # of images: the worst-protected
COLOURS = 3


def worst(values: Values) -> float:
    """Mean of the highest 1 % of `values`, of one value at least: what the worst-protected images suffer."""
    count = max(1, round(WORST_FRACTION * len(values)))
    return float(np.sort(values)[-count:].mean())


def reidentify(similarity: Array) -> tuple[float, float]:
    """Shares of targets whose true image is the most similar of the gallery, and among the five most similar.

    Ties count as they come out on average when broken at random, so that a constant similarity scores chance.

    Args:
        similarity: (T, G); the true image of row i is column i, T at most G.

    Raises:
        PrivpipeError: the array is not as described, or has NaN.
    """
    if similarity.ndim != 2 or not 1 <= similarity.shape[0] <= similarity.shape[1] or np.isnan(similarity).any():
        raise PrivpipeError(
            f"similarities must be (T, G) without NaN, the gallery holding every target; got {similarity.shape}. "
            "Put the true image of row i in column i."
        )
    true = np.diagonal(similarity)[:, None]
    better = (similarity > true).sum(axis=1)
    tied = (similarity == true).sum(axis=1)  # itself included
    top1, top5 = (float(((count - better) / tied).clip(0, 1).mean()) for count in (1, 5))
    return top1, top5


def key_recovery(method: Perturbation, found: Array | None, truth: Array | None) -> KeyRecovery | None:
    """Compare a found key with the true one; None for methods without a key or where none was sought.

    Args:
        method: the transformation; its own key is not used.
        found: as `Perturbation.dataset_key`, or as its `image_keys`.
        truth: either again. Where one of them is of each image, the mean over the images is given; where both are,
            over those that both have, the first ones.

    Raises:
        PrivpipeError: the shapes do not go together, or the method does not say how its keys compare.
    """
    if not method.keyed or found is None or truth is None:
        return None
    form = method.key_form(COLOURS)
    axes = 0 if form is None else len(form)
    if found.ndim == truth.ndim == axes + 1:
        count = min(len(found), len(truth))
        found, truth = found[:count], truth[:count]
    if {found.ndim, truth.ndim} - {axes, axes + 1} or found.shape[-axes:] != truth.shape[-axes:]:
        raise PrivpipeError(
            f"a found key of {method.name} must have the shape of the true one, {truth.shape}; got {found.shape}. "
            "Return it in the form of Perturbation.dataset_key."
        )
    return method.key_similarity(found, truth)


def chance_key_recovery(method: Perturbation, channels: int = COLOURS) -> KeyRecovery | None:
    """What a key drawn at random would score; None for methods without a key.

    Raises:
        PrivpipeError: the method does not say.
    """
    return method.chance_key_similarity(channels) if method.keyed else None


@dataclass(frozen=True)
class Scores:
    """What one attempt, or one baseline, achieved; None where it was not measured. Higher is better for the adversary.

    Args:
        psnr, psnr_worst: in dB, mean over the images and over the worst-protected 1 %.
        ssim, ssim_worst: likewise, at most 1.
        reidentified_top1, reidentified_top5: share of images told from the others by their reconstruction.
        recognised: share of reconstructions in which a classifier of unperturbed images sees the right class.
        key_recovery, blocks_recovered: see `KeyRecovery`.
        confidence: how far the attack itself believed its answer, 0..1.
        seconds: wall-clock time that it took.
    """

    psnr: float | None = None
    psnr_worst: float | None = None
    ssim: float | None = None
    ssim_worst: float | None = None
    reidentified_top1: float | None = None
    reidentified_top5: float | None = None
    recognised: float | None = None
    key_recovery: float | None = None
    blocks_recovered: float | None = None
    confidence: float | None = None
    seconds: float | None = None


OF_ONE_ATTACK = ("confidence", "seconds")  # facts of one attempt: the best of several would mean nothing
ACHIEVED = tuple(field.name for field in fields(Scores) if field.name not in OF_ONE_ATTACK)
OF_IMAGES = ACHIEVED[:7]  # what a baseline is scored by
OF_CHANCE = ("reidentified_top1", "reidentified_top5", "recognised", "key_recovery", "blocks_recovered")


@dataclass(frozen=True)
class Row:
    """One attempt and its scores: a row of the report's table."""

    level: str
    attack: str
    pairs: int
    stolen: int
    scores: Scores

    def cells(self) -> dict[str, str | int | float | None]:
        """The columns level, attack, pairs, stolen, and those of `Scores`."""
        facts = {"level": self.level, "attack": self.attack, "pairs": self.pairs, "stolen": self.stolen}
        return {**facts, **asdict(self.scores)}


def score_images(originals: Images, labels: NDArray[np.int64], images: Array, recognise: Recognise) -> Scores:
    """Score reconstructions of the images `originals`, which are also the gallery of re-identification.

    Args:
        originals: uint8 (T, H, W, C).
        labels: their classes, int64 (T,).
        images: float32 in levels or uint8, (T, H, W, C).
        recognise: gives the classes of uint8 images (T, H, W, C).

    Raises:
        PrivpipeError: the shapes differ.
    """
    rounded = as_images(images)
    ratios, similarities = psnr(originals, rounded), ssim(originals, rounded)
    top1, top5 = reidentify(image_similarity(pixel_values(rounded), originals))
    recognised = float((recognise(rounded) == labels).mean())
    return Scores(
        float(ratios.mean()), worst(ratios), float(similarities.mean()), worst(similarities), top1, top5, recognised
    )


def score_record(
    record: Record,
    originals: Images,
    labels: NDArray[np.int64],
    recognise: Recognise,
    found: KeyRecovery | None,
) -> Row:
    """Score an attempt: its images against `score_images`; `found` is what came of its key."""
    scores = Scores() if record.images is None else score_images(originals, labels, record.images, recognise)
    scores = replace(
        scores,
        key_recovery=None if found is None else found.pixels,
        blocks_recovered=None if found is None else found.blocks,
        confidence=record.confidence,
        seconds=record.seconds,
    )
    return Row(record.level, record.attack, record.pairs, record.stolen, scores)


def score_matching(targets: Array, originals: Images, method: Perturbation) -> Row:
    """Re-identification of the perturbed images themselves: no reconstruction, no key, only the method (level L0)."""
    top1, top5 = reidentify(method_similarity(targets, originals, method))
    return Row(LEVELS[0], MATCHING, 0, 0, Scores(reidentified_top1=top1, reidentified_top5=top5))


def best(rows: Sequence[Row], level: str) -> tuple[str | None, Scores]:
    """What is achieved by whoever tries all attacks of `level` and of the levels below it.

    Returns:
        The name of the attempt of the highest mean SSIM, the first of equal ones, None where there are no images;
        and for every score the highest of all attempts, but the confidence and the seconds of the named one.
    """
    within = [row for row in rows if LEVELS.index(row.level) <= LEVELS.index(level)]
    highest: dict[str, float | None] = {
        name: max((v for row in within if (v := getattr(row.scores, name)) is not None), default=None)
        for name in ACHIEVED
    }
    chosen = max(within, key=lambda row: -inf if row.scores.ssim is None else row.scores.ssim, default=None)
    if chosen is None or chosen.scores.ssim is None:
        return None, Scores(**highest)
    return chosen.attack, Scores(**highest, confidence=chosen.scores.confidence, seconds=chosen.scores.seconds)


def baseline_images(targets: Array, public: Images) -> dict[str, Array]:
    """Reconstructions that need no attack, each (T, H, W, C) in levels.

    - `mean_image`: the mean of the public images, every time.
    - `perturbed`: the perturbed image as it is where it is uint8. As float16 it may have any range: one affine map per
      colour, the same for all images, gives it the mean and standard deviation of the public images.
    - `other_image`: a public image drawn at random, which has nothing to do with the target. In order it would: sets
      have their classes in turn.

    Args:
        targets: perturbed images as stored, (T, H, W, C).
        public: other images, uint8 (M, H, W, C); fewer than T are used in turn.
    """
    mean = np.broadcast_to(public.mean(axis=0, dtype=np.float64).astype(np.float32), targets.shape)
    drawn = np.random.default_rng(0).permutation(len(public))
    other = public[drawn[np.arange(len(targets)) % len(public)]]
    return {"mean_image": mean, "perturbed": _like_public(targets, public), "other_image": other}


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


def chance(labels: NDArray[np.int64], drawn: KeyRecovery | None) -> Scores:
    """What guessing achieves; `recognised` by always naming the most frequent class, a key by `drawn`."""
    count = len(labels)
    return Scores(
        reidentified_top1=1 / count,
        reidentified_top5=min(1.0, 5 / count),
        recognised=float(np.bincount(labels).max() / count),
        key_recovery=None if drawn is None else drawn.pixels,
        blocks_recovered=None if drawn is None else drawn.blocks,
    )


def metrics(
    rows: Sequence[Row],
    baselines: Mapping[str, Scores],
    guessing: Scores,
    original_recognised: float,
    attacked: Sequence[str] = LEVELS,
) -> dict[str, str | float | None]:
    """The flat dictionary for DVC, with the same keys whatever was measured.

    Keys are `l0_psnr` and so on for every level and score, `l0_attack` for the attack that `best` names,
    `mean_image_psnr` and so on for every baseline, `chance_recognised` and so on, and `original_recognised`: the
    accuracy of the classifier that decides `recognised`, on the originals.

    Args:
        rows: all attempts.
        baselines: the scores of `baseline_images`.
        guessing: from `chance`.
        attacked: the levels for which there was something to know; the scores of others are None.
    """
    out: dict[str, str | float | None] = {}
    for level in LEVELS:
        attack, scores = best(rows, level) if level in attacked else (None, Scores())
        out |= {f"{level.lower()}_{name}": value for name, value in asdict(scores).items()}
        out[f"{level.lower()}_attack"] = attack
    for baseline, scores in baselines.items():
        out |= {f"{baseline}_{name}": getattr(scores, name) for name in OF_IMAGES}
    out |= {f"chance_{name}": getattr(guessing, name) for name in OF_CHANCE}
    return out | {"original_recognised": original_recognised}


def needed(
    counts: Sequence[int], recoveries: Sequence[float], shares: Sequence[float] = (0.5, 0.9, 0.99)
) -> tuple[int | None, ...]:
    """The cost of an attack in data: for each share, the smallest count from which on recovery reaches it.

    Args:
        counts: of stolen images or known pairs that were tried, in any order.
        recoveries: 0..1, what each came to.

    Returns:
        One count per share; None where the largest count does not reach it. A share that is reached and lost again
        with more data is not reached.
    """
    measured = list(zip(counts, recoveries, strict=True))

    def holds_from(count: int, share: float) -> bool:
        return all(recovery >= share for other, recovery in measured if other >= count)

    return tuple(min((count for count in counts if holds_from(count, share)), default=None) for share in shares)
