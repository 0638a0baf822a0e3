"""Every attack that applies, at every level of knowledge: from a stolen file to records of what they brought."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from privpipe.attacks.base import AdversaryView, Attack, Outcome, Pairs
from privpipe.attacks.records import Record, as_images
from privpipe.errors import PrivpipeError
from privpipe.files import SMALL_OUTPUT, need_space
from privpipe.store import LEAKED, PERTURBED, PUBLIC, open_store

logger = logging.getLogger(__name__)

STEPS = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)  # known pairs
COUNTS = tuple(step * 10**power for power in range(2, 7) for step in (1, 3))  # stolen images: 100, 300, 1000, ...
HOPELESS = 0.05  # confidence on the whole set under which fewer images are not tried
SURE = 0.9  # confidence from which on no costly attack is tried


def load_view(
    perturbed: str | Path, public: str | Path, leaked: str | Path, targets: int, stolen: int | None
) -> AdversaryView:
    """What the adversary holds at most, from files.

    Args:
        perturbed, public, leaked: HDF5 files (see `privpipe.store`) of these kinds.
        targets: the first so many test images are to be reconstructed, or all if there are fewer.
        stolen: the first so many training images are learned from; None for all.

    Raises:
        PrivpipeError: a file is missing or damaged, or they do not fit each other.
    """
    with open_store(public, PUBLIC) as store:
        known = store.images("train")
    with open_store(leaked, LEAKED) as store:
        originals = store.images("train")
    with open_store(perturbed, PERTURBED) as store:
        header = store.header
        for path, images in ((public, known), (leaked, originals)):
            if images.shape[1:] != header.original_shape:
                raise PrivpipeError(
                    f"{path} has images of shape {images.shape[1:]}, {perturbed} of {header.original_shape}. Make both "
                    "again with `dvc repro`."
                )
        available = store.counts["train"]
        count = available if stolen is None else min(stolen, available)
        learned_from = store.rows("train", 0, count)
        pairs = Pairs(originals, store.rows("train", 0, len(originals))) if len(originals) else None
        wanted = store.rows("test", 0, min(targets, store.counts["test"]))
    return AdversaryView(
        header.method,
        header.k,
        header.scope,
        header.sigma,
        learned_from,
        wanted,
        known if len(known) else None,
        pairs,
        header.settings,
        header.image_shape,
    )


def suite(view: AdversaryView, attacks: Sequence[Attack], target: str | Path | None = None) -> list[Record]:
    """Run every one of `attacks` that applies, with all that `view` holds and with less.

    First each level with all its images, L2 with 1, 10, 100, ... of the known pairs and with all of them; then, for
    attacks that seek a key, smaller numbers of stolen images. An attack that refuses is recorded with its reason, a
    costly one that is not needed as well, and once what takes images where uploads are features.

    Args:
        target: the file that the records will be written to; space for them is asked for before the work.

    Raises:
        PrivpipeError: the disk of `target` has not the space.
    """
    chosen, records = applicable(view, attacks)
    plan = planned(view, chosen)
    if target is not None:
        image = view.image_size**2 * view.channels
        need_space(
            target, len(plan) * len(view.targets) * image + SMALL_OUTPUT
        )  # images of 8 bits; keys are small beside them
    with tqdm(plan, desc="attack", unit="attack", disable=None) as bar:
        for attack, level, known in bar:
            bar.set_postfix_str(f"{attack.name} {level}")
            sure = _sure_of_the_key(records) if attack.costly else None
            if sure is None:
                records.append(_rounded(run(attack, level, known)))
            else:
                why = f"{sure.attack} at {sure.level} found the key with a confidence of {sure.confidence:.2f}"
                records.append(Record(level, attack.name, _pairs(known), len(known.stolen), problem=why))
    return records + data_cost(view, chosen, records)


def applicable(view: AdversaryView, attacks: Sequence[Attack]) -> tuple[list[Attack], list[Record]]:
    """Those of `attacks` that apply to what `view` holds, and a record with the reason for each that would refuse."""
    applying = [attack for attack in attacks if attack.applies(view.transformation)]
    refusals = [(attack, attack.refusal(view.transformation)) for attack in applying]
    records = [
        Record(attack.levels[0], attack.name, 0, len(view.stolen), problem=why) for attack, why in refusals if why
    ]
    return [attack for attack, why in refusals if why is None], records


def _rounded(record: Record) -> Record:
    """Its images as they are written and judged: of larger ones, those of all attempts are held together."""
    return record if record.images is None else replace(record, images=as_images(record.images))


def planned(view: AdversaryView, attacks: Sequence[Attack]) -> list[tuple[Attack, str, AdversaryView]]:
    """Which of `attacks` is run at which level, with what of `view`."""
    return [
        (attack, level, known)
        for level, known in situations(view)
        for attack in attacks
        if level in attack.levels and (level != "L2" or attack.learns_from_pairs(known))
        if not (attack.costly and level == "L2" and known is not view)
    ]


def _sure_of_the_key(records: Sequence[Record]) -> Record | None:
    """The first record of an attack that is sure of the key."""
    sure = (record for record in records if record.key is not None and (record.confidence or 0) >= SURE)
    return next(sure, None)


def situations(view: AdversaryView) -> Iterator[tuple[str, AdversaryView]]:
    """What is known at each level, L0 first; a level for which `view` holds nothing is left out."""
    yield "L0", replace(view, public=None, pairs=None)
    if view.public is not None:
        yield "L1", replace(view, pairs=None)
    if view.pairs is not None:
        total = len(view.pairs.originals)
        for count in [step for step in STEPS if step < total]:
            yield "L2", replace(view, pairs=Pairs(view.pairs.originals[:count], view.pairs.perturbed[:count]))
        yield "L2", view


def run(attack: Attack, level: str, view: AdversaryView) -> Record:
    """Run one attack and note what it brought and how long it took."""
    return timed(attack.name, level, _pairs(view), len(view.stolen), lambda: attack.run(view))


def timed(name: str, level: str, pairs: int, stolen: int, work: Callable[[], Outcome]) -> Record:
    """What an attack, which is all the work, brought and how long it took; the reason where it refuses."""
    start = time.perf_counter()
    try:
        attempt = work()
    except (PrivpipeError, MemoryError) as error:
        logger.warning("%s at %s was not run: %s", name, level, error)
        why = str(error) or "there is not enough memory"
        return Record(level, name, pairs, stolen, time.perf_counter() - start, problem=why)
    seconds = time.perf_counter() - start
    return Record(level, name, pairs, stolen, seconds, attempt.confidence, attempt.images, attempt.key)


def _pairs(view: AdversaryView) -> int:
    return 0 if view.pairs is None else len(view.pairs.originals)


def data_cost(view: AdversaryView, attacks: Sequence[Attack], records: Sequence[Record]) -> list[Record]:
    """The keys found from fewer stolen images without pairs, for attacks that found something in all of them."""
    costs = []
    for attack in attacks:
        levels = [level for level in attack.levels if level != "L2"]
        whole = [record for record in records if record.attack == attack.name and record.level in levels]
        if not attack.seeks_key or not whole or (whole[-1].confidence or 0) < HOPELESS:
            continue
        public = view.public if whole[-1].level == "L1" else None
        for count in [number for number in COUNTS if number < len(view.stolen)]:
            # One target, since the key alone is wanted.
            fewer = replace(view, stolen=view.stolen[:count], targets=view.targets[:1], public=public, pairs=None)
            record = run(attack, whole[-1].level, fewer)
            costs.append(replace(record, images=None))
    return costs
