"""The owner's judgement of a release of a whole set: whose images are in it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from privpipe.attacks.records import Record
from privpipe.errors import PrivpipeError
from privpipe.perturb import RELEASES
from privpipe.perturb.base import Images
from privpipe.perturb.release import Labelled, Labels, SetRelease
from privpipe.released import About, Released
from privpipe.scores import privacy
from privpipe.scores.identification import Identified, as_metrics, at_most
from privpipe.scores.registry import scores
from privpipe.scores.scoring import CANDIDATE_BYTES, Judgement, data_needed
from privpipe.scores.second_release import not_measured
from privpipe.store import RAW, open_store

NOT_EXACTLY = "the noise can turn any set into any release, more or less likely: what it tells is bounded, not counted"
ADDS_UP = "releases of a whole set add up: the owner's ledger counts them"


def release_of(about: About) -> SetRelease:
    """The method of a release with its settings.

    Raises:
        PrivpipeError: this version does not know the method, or the settings are none of its.
    """
    kind = RELEASES.get(about.method)
    try:
        if kind is None:
            raise TypeError(f"there is no method {about.method!r}")
        return kind(about.shape[0], **about.settings)
    except TypeError as error:
        raise PrivpipeError(f"the release cannot be judged: {error}. Use the privpipe that made it.") from error


def judge_release(released: Released, records: Sequence[Record], missing: Labelled, others: Labelled) -> Judgement:
    """Say whose images are in a release; no score of images is measured, with the reason among the problems.

    Args:
        records: of the stage `attack`.
        missing: images that the release was made of, each of which is once to be told.
        others: images that are not in it, among which that is.
    """
    found = identified(release_of(released.about), released, missing, others)
    chance = {score.name: score.chance(others.labels, None) for score in scores()}
    metrics = privacy.metrics([], {name: {} for name in privacy.BASELINES}, chance, {}, ())
    return Judgement(
        {**metrics, **data_needed([]), **not_measured(ADDS_UP), **as_metrics(found)},
        [],
        [],
        [(record.level, record.attack, record.pairs, record.problem) for record in records if record.problem],
        {},
    )


def identified(release: SetRelease, released: Released, missing: Labelled, others: Labelled) -> Identified:
    """The three statements of `privpipe.scores.identification` on one image of the set.

    The adversary holds all other images of the set, and the candidates for the missing one: `others`, of which one of
    its class gave way to it.
    """
    sizes = np.unique(others.labels, return_counts=True)[1]
    why = {"exactly": NOT_EXACTLY}
    at_least = None
    try:
        at_least = release.identified(released.numbers, missing, others)
    except PrivpipeError as error:
        why["at_least"] = str(error)
    prior = len(sizes) / len(others.labels)
    return Identified(len(others.labels), prior, None, at_most(sizes, release.mu), at_least, why)


def load_members(images: str | Path, targets: int, candidates: int) -> tuple[Labelled, Labelled]:
    """The first training images of a RAW file, and images that are none: the test images, then those of validation.

    Args:
        targets: how many of the former, at most.
        candidates: how many of the latter, at most; fewer where the file has fewer, or they would take over half a
            gigabyte.

    Raises:
        PrivpipeError: the file is missing or damaged, or has neither test nor validation images.
    """
    with open_store(images, RAW) as store:
        count = min(candidates, CANDIDATE_BYTES // store.header.image_bytes)
        parts: list[tuple[Images, Labels]] = []
        for split in ("test", "val"):
            rows = min(count, store.counts[split])
            parts.append((store.rows(split, 0, rows), store.labels(split)[:rows]))
            count -= rows
        others = Labelled(np.concatenate([part for part, _ in parts]), np.concatenate([labels for _, labels in parts]))
        if not len(others.labels):
            raise PrivpipeError(f"{images} has no images but those of training. Raise data.n_val and data.n_test.")
        return Labelled(store.rows("train", 0, targets), store.labels("train", 0, targets)), others
