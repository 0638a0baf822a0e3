"""The owner's judgement of the attacks: from files to scores, with the originals and the key at hand."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.records import Record, as_images
from privpipe.attacks.restoration import Prior, restore
from privpipe.errors import PrivpipeError
from privpipe.perturb import Copies, Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.keys import KeyRecovery
from privpipe.scores import privacy
from privpipe.scores.base import Attempt, Recognise
from privpipe.scores.registry import scores
from privpipe.scores.second_release import DECIMALS as second_release_decimals
from privpipe.scores.second_release import second_release
from privpipe.store import RAW, SPLITS, open_store

T = TypeVar("T")

KEY_BYTES = 128 << 20  # of the keys of single images that are held in memory together
CANDIDATE_BYTES = 512 << 20
KEYS_COMPARED = 100  # images, at most, whose own keys a found key is compared with under `scope: image`
FRACTIONS = (0.5, 0.9, 0.99)  # of a key, for the cost in data
# Of what is published, by what a name ends in; see `privpipe.scores.base.Score.decimals`.
DECIMALS = {"confidence": 3, **second_release_decimals}
COST_COLUMNS = ("level", "attack", "stolen", "pairs", "key_recovery", "blocks_recovered", "confidence")


@dataclass(frozen=True)
class Judgement:
    """What the attacks came to.

    Args:
        metrics: flat, for `metrics/privacy.json`; the same keys whatever was measured.
        rows: one for each attempt.
        recoveries: how much of the key each run found that sought one, with fewer images or pairs as well.
        problems: level, attack and known pairs of what was not run or not measured, and why.
        images: for each level that was attacked the best attack's name and reconstructions uint8 (T, H, W, C), for
            looking at.
    """

    metrics: dict[str, str | float | None]
    rows: list[privacy.Row]
    recoveries: list[tuple[Record, KeyRecovery]]
    problems: list[tuple[str, str, int, str]]
    images: dict[str, tuple[str, Images]]

    def table(self) -> list[tuple[Any, ...]]:
        """Rows of `table_columns`: every attempt, then what was not run, with the reason. Rounded as published."""
        tried = [(*published(row.cells()).values(), None) for row in self.rows]
        empty = (None,) * (len(table_columns()) - 5)
        return tried + [(level, attack, pairs, None, *empty, why) for level, attack, pairs, why in self.problems]

    def cost(self, in_pairs: bool) -> list[tuple[Any, ...]]:
        """Rows of `COST_COLUMNS`: key recovery against known pairs, or against stolen images without pairs."""
        return [
            (
                r.level,
                r.attack,
                r.stolen,
                r.pairs,
                recovery.pixels,
                recovery.blocks,
                rounded("confidence", r.confidence),
            )
            for r, recovery in self.recoveries
            if (r.level == "L2") == in_pairs
        ]


def table_columns() -> tuple[str, ...]:
    """Columns of the table of attempts: facts of each, every score, and why one was not run."""
    return (*published(privacy.Row("", "", 0, 0, {}).cells()), "problem")


def published(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics or cells as they may be committed: rounded, and without the seconds, which no two runs share.

    The stage `attack` writes the seconds, into files of their own.
    """
    return {name: rounded(name, value) for name, value in values.items() if not name.endswith("seconds")}


def rounded(name: str, value: Any) -> Any:
    """A value as it may be committed: rounded as its score or `DECIMALS` says, whose name `name` is or ends in.

    Args:
        name: of a metric or column, such as `l0_psnr_worst` or `ssim`.
    """
    if not isinstance(value, float):
        return value
    decimals = {score.name: score.decimals for score in scores()} | DECIMALS
    endings = [ending for ending in decimals if f"_{name}".endswith(f"_{ending}")]
    places = decimals[max(endings, key=len)] if endings else None
    return value if places is None else round(value, places)


def load_originals(images: str | Path, count: int) -> tuple[Images, Any]:
    """The first `count` test images of a RAW file and their labels, int64.

    Raises:
        PrivpipeError: the file is missing or damaged, or has fewer.
    """
    with open_store(images, RAW) as store:
        if store.counts["test"] < count:
            raise PrivpipeError(
                f"{images} has {store.counts['test']} test images; {count} were attacked. Run `dvc repro attack`."
            )
        return store.rows("test", 0, count), store.labels("test")[:count]


def load_candidates(
    images: str | Path, count: int, splits: Sequence[str] = ("test", "val", "train")
) -> tuple[Images, Any]:
    """Images of a RAW file among which an upload is to be told, the test images first, and their labels, int64.

    Args:
        count: how many, at most; fewer where the file has fewer, or where so many would take over half a gigabyte.
        splits: from which they are taken, in turn.

    Raises:
        PrivpipeError: the file is missing or damaged.
    """
    with open_store(images, RAW) as store:
        count = min(count, CANDIDATE_BYTES // math.prod(store.header.shape))
        parts = []
        for split in splits:
            rows = min(count, store.counts[split])
            parts.append((store.rows(split, 0, rows), store.labels(split)[:rows]))
            count -= rows
        return np.concatenate([part for part, _ in parts]), np.concatenate([labels for _, labels in parts])


def count_copies(images: str | Path, perturbation: Perturbation) -> Copies:
    """The images of a RAW file that stand before its test images: equal ones among those have higher numbers."""
    copies = Copies()
    with open_store(images, RAW) as store:
        for split in SPLITS[: SPLITS.index("test")]:
            for start, stop in store.spans(split):
                perturbation.skip(store.rows(split, start, stop), copies)
    return copies


def judge(
    view: AdversaryView,
    records: Sequence[Record],
    originals: Images,
    labels: Any,
    perturbation: Perturbation,
    recognise: Recognise,
    copies: Copies | None = None,
) -> Judgement:
    """Score every record, with the key as level L3, the matching of the perturbed images, and the baselines.

    What the method does not say (how its keys compare, say) is not measured, and the reason is among the problems.

    Args:
        view: what the adversary held, but for the stolen images, which are not looked at; its targets are the perturbed
            `originals`.
        records: from `privpipe.attacks.suite`.
        originals: uint8 (T, H, W, C), rows of the test split from the first on; `labels`: int64 (T,).
        perturbation: the owner's, with the key.
        copies: from `count_copies`; None where no image stands before the originals.
    """
    copies = Copies() if copies is None else copies
    attempt = Attempt(originals, labels, recognise)
    # Several attacks bring the same images: the originals themselves, say.
    score = _remembering(lambda images: privacy.score_images(replace(attempt, images=images)))
    problems = _Problems([(r.level, r.attack, r.pairs, r.problem) for r in records if r.problem is not None])
    tried = [record for record in records if record.problem is None]
    truth = problems.note(("L3", "key"), lambda: true_key(perturbation, originals, copies))
    bound = problems.note(("L3", "key"), lambda: upper_bound(view, perturbation, truth, originals, copies))
    whole = max((record.stolen for record in tried), default=0)  # fewer stolen images are for the cost alone

    def recovered(record: Record) -> KeyRecovery | None:
        return problems.note(
            (record.level, record.attack), lambda: privacy.key_recovery(perturbation, record.key, truth), record.pairs
        )

    compared = [(record, recovered(record)) for record in tried]
    attempts = [(record, recovery) for record, recovery in compared if record.stolen == whole]
    attempts += [(bound, recovered(bound))] if bound else []
    rows = [
        privacy.score_record(record, replace(attempt, key=recovery), score)
        for record, recovery in tqdm(attempts, desc="score", unit="attempt", disable=None)
    ]
    matching = problems.note(
        ("L0", privacy.MATCHING), lambda: privacy.score_matching(view.targets, attempt, perturbation)
    )
    rows += [matching] if matching else []
    random = problems.note(("L0", "random key"), lambda: privacy.chance_key_recovery(perturbation, originals.shape[3]))
    measured = [(record, recovery) for record, recovery in compared if recovery is not None]
    known = {"L0": True, "L1": view.public is not None, "L2": view.pairs is not None}
    # A key that restores nothing bounds nothing; where there is no key to know, L3 is the best of the other levels.
    known["L3"] = bound is not None or not perturbation.keyed
    attacked = [level for level, has in known.items() if has]
    metrics = privacy.metrics(
        rows,
        baselines={
            **{name: {} for name in privacy.BASELINES},
            **{name: score(images) for name, images in _baseline_images(view, originals).items()},
        },
        guessing={one.name: one.chance(labels, random) for one in scores()},
        originals={one.name: one.measure(replace(attempt, images=originals)) for one in scores() if one.of_originals},
        attacked=attacked,
    )
    return Judgement(
        {**metrics, **data_needed(measured), **second_release(perturbation, originals)},
        rows,
        measured,
        problems.noted,
        best_images(rows[: len(attempts)], [record for record, _ in attempts], attacked),
    )


def _baseline_images(view: AdversaryView, originals: Images) -> dict[str, Array]:
    """What is scored beside the attacks; without public images, other originals stand for them."""
    others = np.roll(originals, 1, axis=0) if view.public is None else view.public
    return privacy.baseline_images(view.targets, others)


class _Problems:
    """What was not run or not measured: level, attack, known pairs, and why."""

    def __init__(self, noted: list[tuple[str, str, int, str]]) -> None:
        self.noted = noted

    def note(self, what: tuple[str, str], measure: Callable[[], T], pairs: int = 0) -> T | None:
        """What `measure` returns; None where it refuses, with its reason among the problems, once."""
        try:
            return measure()
        except PrivpipeError as error:
            problem = (*what, pairs, str(error))
            if problem not in self.noted:
                self.noted.append(problem)
            return None


def _remembering(score: Callable[[Images], privacy.Scored]) -> Callable[[Array], privacy.Scored]:
    """The same, asked once for images that are the same in 8 bits."""
    answers: dict[bytes, privacy.Scored] = {}

    def ask(images: Array) -> privacy.Scored:
        rounded = as_images(images)
        name = hashlib.sha256(rounded.tobytes()).digest()
        if name not in answers:
            answers[name] = score(rounded)
        return answers[name]

    return ask


def true_key(perturbation: Perturbation, originals: Images, copies: Copies) -> Array | None:
    """What a found key is compared with: the shared key, or those of the first originals under `scope: image`."""
    if perturbation.scope == "dataset":
        return perturbation.shared_key(originals.shape[3])
    count = min(KEYS_COMPARED, _keys_at_once(perturbation, originals))
    return perturbation.image_keys(originals[:count], copies.copy())


def upper_bound(
    view: AdversaryView, perturbation: Perturbation, truth: Array | None, originals: Images, copies: Copies
) -> Record | None:
    """Level L3, the key itself with the best linear restoration; None where there is no key.

    Args:
        originals, copies: by which the keys of single images are known, as for `judge`.
    """
    if not perturbation.keyed:
        return None
    undone = perturbation.undone_by_key
    prior = None if undone else Prior.known(view.public, perturbation, view.channels)
    parts = [
        restore(view.targets[rows], perturbation, key, prior)
        for rows, key in _keys(perturbation, originals, copies.copy())
    ]
    return Record("L3", "key", 0, 0, 0.0, 1.0, np.concatenate(parts), truth)


def _keys(perturbation: Perturbation, originals: Images, copies: Copies) -> Iterator[tuple[slice, Array | None]]:
    count = len(originals)
    if perturbation.scope == "dataset":
        yield slice(0, count), perturbation.shared_key(originals.shape[3])
        return
    step = _keys_at_once(perturbation, originals)
    for first in tqdm(range(0, count, step), desc="restore with the keys", disable=None):
        rows = slice(first, min(first + step, count))
        yield rows, perturbation.image_keys(originals[rows], copies)


def _keys_at_once(perturbation: Perturbation, originals: Images) -> int:
    one = perturbation.image_keys(originals[:1])
    return 1 if one is None else max(1, KEY_BYTES // one.nbytes)


def data_needed(measured: Sequence[tuple[Record, KeyRecovery]]) -> dict[str, float | None]:
    """Stolen images (without pairs) and known pairs that recover fractions of a key, by the best attack for each count.

    Keys `images_for_50` and so on, and `pairs_for_50`; None where no tried number was enough.
    """
    out: dict[str, float | None] = {}
    for name, with_pairs in (("images", False), ("pairs", True)):
        best: dict[int, float] = {}
        for record, recovery in measured:
            if (record.level == "L2") == with_pairs:
                count = record.pairs if with_pairs else record.stolen
                best[count] = max(best.get(count, 0.0), recovery.pixels)
        counts = privacy.needed(list(best), list(best.values()), FRACTIONS)
        out |= {f"{name}_for_{100 * fraction:.0f}": count for fraction, count in zip(FRACTIONS, counts, strict=True)}
    return out


def best_images(
    rows: Sequence[privacy.Row], attempts: Sequence[Record], levels: Sequence[str]
) -> dict[str, tuple[str, Images]]:
    """For each of `levels`, the attempt of the highest mean SSIM at that level or below."""
    out, order = {}, privacy.LEVELS
    for level in levels:
        within = [
            (row.scores.get(privacy.LEADING) or 0.0, attempt.attack, attempt.images)
            for row, attempt in zip(rows, attempts, strict=True)
            if order.index(row.level) <= order.index(level) and attempt.images is not None
        ]
        if within:
            _, attack, images = max(within, key=lambda entry: entry[0])
            out[level] = (attack, as_images(images))
    return out
