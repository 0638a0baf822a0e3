"""The owner's judgement of a release of a whole set: whose images are in it.

    python -m privpipe.scores.set_release

prints what the bound is worth: how often at most one of 10,000 candidates in ten balanced classes is named.
"""

from collections.abc import Sequence

import numpy as np

from privpipe.attacks.records import Record
from privpipe.errors import PrivpipeError
from privpipe.perturb import RELEASES
from privpipe.perturb.base import Images
from privpipe.perturb.release import Arrays, Labelled, Labels, SetRelease
from privpipe.released import About, Released
from privpipe.scores import privacy
from privpipe.scores.identification import Identified, as_metrics, at_most
from privpipe.scores.registry import scores
from privpipe.scores.scoring import Judgement, data_needed
from privpipe.scores.second_release import not_measured
from privpipe.scores.set_members import Members, judged
from privpipe.statistics.accounting import DELTA, mu_of, without_luck

CANDIDATES, CLASSES = 10_000, 10  # of the table
EPSILONS = (0.5, 1.0, 3.0, 8.0)
OUTSIDE = ("test", "val")  # splits that are in no release


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


def judge_release(
    released: Released, records: Sequence[Record], candidates: Labelled, targets: int, members: Members | None = None
) -> Judgement:
    """Say whose images are in a release, and score what attacks brought where its rows hold images.

    Args:
        records: of the stage `attack`.
        candidates: images of the same kind that are in no release: what is published of them tells nothing of those
            that are.
        targets: the first so many candidates are each to be told once, and the first so many images are scored.
        members: the images whose mixtures are in the release; None where it holds none.
    """
    release = release_of(released.about)
    found = identified_of_set(release, released.numbers, candidates, targets)
    rows: list[privacy.Row] = []
    images: dict[str, tuple[str, Images]] = {}
    if members is None:
        chance = {score.name: score.chance(candidates.labels, None) for score in scores()}
        metrics = privacy.metrics([], {name: {} for name in privacy.BASELINES}, chance, {}, ())
    else:
        rows, metrics, images = judged(records, members, targets)
    return Judgement(
        {**metrics, **data_needed([]), **not_measured(release.adds_up), **as_metrics(found)},
        rows,
        [],
        [(record.level, record.attack, record.pairs, record.problem) for record in records if record.problem],
        images,
    )


def identified_of_set(release: SetRelease, numbers: Arrays, candidates: Labelled, targets: int) -> Identified:
    """The three statements of `privpipe.scores.identification` on one image of a set.

    The adversary holds the candidates, and where a theorem bounds what is told, all other images of the set.
    """
    return statements(release, candidates.labels, release.identified(numbers, candidates, targets), targets)


def statements(release: SetRelease, labels: Labels, at_least: float, targets: int) -> Identified:
    """`identified_of_set` where it is known how often the adversary names the right candidate.

    Args:
        labels: of the candidates, int64 (M,).
        at_least: 0..1.
        targets: of how many candidates, at most.
    """
    sizes = np.unique(labels, return_counts=True)[1]
    total, why = len(labels), {"exactly": release.not_exactly}
    if release.mu is None:
        why["at_most"] = release.not_at_most
    bound = None if release.mu is None else at_most(sizes, release.mu)
    if bound is not None:
        at_least = without_luck(at_least, min(targets, total), bound)
    return Identified(total, len(sizes) / total, None, bound, at_least, why)


def table(delta: float = DELTA, candidates: int = CANDIDATES, classes: int = CLASSES) -> str:
    """Markdown: mu and the bound for some epsilons."""
    sizes = np.full(classes, candidates // classes)
    lines = ["| epsilon | mu | named at most | by the class alone |", "|---|---|---|---|"]
    for epsilon in EPSILONS:
        mu = mu_of(epsilon, delta)
        bound, prior = 100 * at_most(sizes, mu), 100 * classes / candidates
        lines.append(f"| {epsilon:g} | {mu:.3f} | {bound:.2f} % | {prior:.2f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
