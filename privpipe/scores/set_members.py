"""What attacks on a release of a whole set brought, beside the images that are in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from privpipe.attacks.records import Record, as_images
from privpipe.perturb.base import Images
from privpipe.perturb.keys import KeyRecovery
from privpipe.perturb.release import Labels
from privpipe.perturb.values import Floats
from privpipe.scores import privacy
from privpipe.scores.base import Attempt, Recognise
from privpipe.scores.registry import scores
from privpipe.scores.scoring import best_images

NO_UPLOAD = (1, 1, 0)  # the shape of what was uploaded of an image: no image
GREY = 127.5
LEVELS = ("L0", "L1")  # at which releases are attacked


@dataclass(frozen=True)
class Members:
    """The images in a release, which only the owner knows.

    Args:
        images: uint8 (N, H, W, C); labels: int64 (N,).
        held: which of them each row of the release holds, int32 (rows, images of a row).
        public: other images, uint8 (M, H, W, C).
        recognise: the classes that a classifier of unperturbed images sees.
    """

    images: Images
    labels: Labels
    held: NDArray[np.int32]
    public: Images
    recognise: Recognise


@dataclass(frozen=True)
class Matched:
    """What an attack brought, with its names of images replaced by those of the owner.

    Args:
        images: (N, H, W, C); mid-grey where an image was not found.
        right: of the places of images in rows, the fraction whose image was named.
    """

    images: Floats
    right: float


def matched(found: NDArray[Any], named: NDArray[Any], held: NDArray[np.int32], count: int) -> Matched:
    """Match images that were found with `count` that are there, by the rows that hold them.

    One to one, so that as many places as possible agree. What the images look like plays no part: a reconstruction is
    compared with the image that it was made of, be it like it or not.

    Args:
        found: (R, H, W, C).
        named: which of these each row holds, (rows, n), -1 where nothing is said.
        held: the truth, (rows, n).
    """
    together = np.zeros((len(found), count), np.int64)
    for j in range(named.shape[1]):
        said = named[:, j] >= 0
        for i in range(held.shape[1]):
            np.add.at(together, (named[said, j], held[said, i]), 1)
    ours, theirs = linear_sum_assignment(together, maximize=True)
    names = np.full(len(found) + 1, -1)  # the last for what was not said
    names[ours] = theirs
    images = np.full((count, *found.shape[1:]), GREY, np.float32)
    images[theirs] = found[ours]
    told = np.sort(names[named], axis=1)
    again = np.zeros(told.shape, bool)
    again[:, 1:] = told[:, 1:] == told[:, :-1]  # an image that stands twice in a row counts once
    hits = ((told[:, :, None] == held[:, None, :]).any(axis=2) & (told >= 0) & ~again).sum()
    return Matched(images, float(hits / held.size))


def judged(
    records: Sequence[Record], members: Members, targets: int
) -> tuple[list[privacy.Row], dict[str, str | float | None], dict[str, tuple[str, Images]]]:
    """Rows, metrics and images as `privpipe.scores.scoring.Judgement` has them, for the first `targets` images.

    The score of the key is the fraction of places whose image was named (`Matched.right`).
    """
    originals, labels = members.images[:targets], members.labels[:targets]
    attempt = Attempt(originals, labels, members.recognise)

    def score(images: Images) -> privacy.Scored:
        return privacy.score_images(replace(attempt, images=as_images(images)))

    rows, shown = [], []
    for record in records:
        if record.images is not None and record.key is not None:
            one = matched(record.images, record.key, members.held, len(members.images))
            tried = replace(record, images=as_images(one.images[: len(originals)]))
            rows.append(privacy.score_record(tried, replace(attempt, key=KeyRecovery(one.right, None)), score))
            shown.append(tried)
    baselines = privacy.baseline_images(np.empty((len(originals), *NO_UPLOAD), np.uint8), members.public)
    metrics = privacy.metrics(
        rows,
        {name: score(baselines[name]) if name in baselines else {} for name in privacy.BASELINES},
        {one.name: one.chance(labels, None) for one in scores()},
        {one.name: one.measure(replace(attempt, images=originals)) for one in scores() if one.of_originals},
        LEVELS,
    )
    return rows, metrics, best_images(rows, shown, LEVELS)
