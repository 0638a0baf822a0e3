"""The owner's judgement of the attacks on an experiment, with its originals and its key."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from privpipe.attacks.records import Record
from privpipe.attacks.suite import load_view
from privpipe.owner.key import Key
from privpipe.owner.perturbing import check_perturbed_with, perturbation
from privpipe.params import Params
from privpipe.perturb.base import Array, Images
from privpipe.scores.reference_classifier import load_reference_classifier
from privpipe.scores.scoring import Judgement, count_copies, judge, load_originals


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
) -> tuple[Judgement, Images, Array]:
    """Judge what the attacks brought.

    Args:
        key: that `perturbed` was made with.
        records: from `privpipe.pipeline.steps.attack`.

    Returns:
        The judgement, the originals uint8 (T, H, W, C), and the same perturbed, as stored.

    Raises:
        PrivpipeError: a file is missing or damaged, or `key` is another one.
    """
    check_perturbed_with(perturbed, key)
    # One stolen image stands for all: what was learned from them is in the records.
    view = load_view(perturbed, inputs.public, inputs.leaked, params.attack.targets, stolen=1)
    originals, labels = load_originals(inputs.images, len(view.targets))
    method = perturbation(params.perturb, view.image_size, key)
    copies = count_copies(inputs.images, method)
    recognise = load_reference_classifier(inputs.reference_classifier, params.train.device, params.train.threads)
    return judge(view, records, originals, labels, method, recognise, copies), originals, view.targets
