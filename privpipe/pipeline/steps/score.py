"""The owner's judgement of the attacks on an experiment, with its originals and its key."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from privpipe.attacks.records import Record
from privpipe.attacks.suite import load_view
from privpipe.owner.key import Key
from privpipe.owner.perturbing import check_perturbed_with, perturbation
from privpipe.owner.releasing import release_stream
from privpipe.params import Params
from privpipe.perturb.base import Array, Images
from privpipe.perturb.release import Labelled
from privpipe.released import Released, is_release, load_released
from privpipe.scores.identification import identification
from privpipe.scores.reference_classifier import load_reference_classifier
from privpipe.scores.scoring import Judgement, count_copies, judge, load_candidates, load_originals
from privpipe.scores.set_members import Members
from privpipe.scores.set_release import OUTSIDE, judge_release, release_of
from privpipe.store import PUBLIC, RAW, open_store


@dataclass(frozen=True)
class Inputs:
    """Files besides the perturbed images: raw images (RAW), what the adversary has (PUBLIC, LEAKED), and the model file
    of a classifier of raw images."""

    images: Path
    public: Path
    leaked: Path
    reference_classifier: Path


def score(
    params: Params, key: Key, perturbed: str | Path, inputs: Inputs, records: Sequence[Record]
) -> tuple[Judgement, Images, Array | None]:
    """Judge what the attacks brought.

    Args:
        key: that `perturbed` was made with.
        records: from `privpipe.pipeline.steps.attack`.

    Returns:
        The judgement, the originals uint8 (T, H, W, C), and the same perturbed, as stored; None of a release of a whole
        set. Its originals are images that are in it where attacks bring such, else others.

    Raises:
        PrivpipeError: a file is missing or damaged, or `key` is another one.
    """
    if is_release(perturbed):
        targets, among = params.attack.targets, params.attack.candidates
        outside = Labelled(*load_candidates(inputs.images, among, OUTSIDE))
        released = load_released(perturbed)
        members = _members(released, params, key, inputs)
        shown = outside.images[:targets] if members is None else members.images[:targets]
        return judge_release(released, records, outside, targets, members), shown, None
    check_perturbed_with(perturbed, key)
    # One stolen image stands for all: what was learned from them is in the records.
    view = load_view(perturbed, inputs.public, inputs.leaked, params.attack.targets, stolen=1)
    originals, labels = load_originals(inputs.images, len(view.targets))
    method = perturbation(params.perturb, view.image_size, key)
    copies = count_copies(inputs.images, method)
    recognise = load_reference_classifier(inputs.reference_classifier, params.train.device, params.train.threads)
    judgement = judge(view, records, originals, labels, method, recognise, copies)
    candidates = load_candidates(inputs.images, max(params.attack.candidates, len(view.targets)))
    identified = identification(method, *candidates, view.targets)
    return replace(judgement, metrics={**judgement.metrics, **identified}), originals, view.targets


def _members(released: Released, params: Params, key: Key, inputs: Inputs) -> Members | None:
    """The images whose mixtures are in a release; None where it holds none."""
    release = release_of(released.about)
    if release.forgets:
        return None
    with open_store(inputs.images, RAW) as store:
        private = Labelled(store.images("train"), store.labels("train"))
    with open_store(inputs.public, PUBLIC) as store:
        public = store.images("train")
    held = release.members(len(private.labels), len(public), release_stream(release, private, public, key))
    if held is None:
        return None
    recognise = load_reference_classifier(inputs.reference_classifier, params.train.device, params.train.threads)
    return Members(private.images, private.labels, held, public, recognise)
