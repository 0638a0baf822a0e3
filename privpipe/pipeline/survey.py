"""The survey: accuracy against measured privacy, one point per perturbation, all on the same images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privpipe.attacks.descrambler_init import preparation
from privpipe.attacks.registry import attacks
from privpipe.attacks.suite import load_view, suite
from privpipe.nn.bundle import save_bundle
from privpipe.nn.evaluate_job import evaluate_file
from privpipe.nn.train_job import train_experiment
from privpipe.owner.key import new_key
from privpipe.owner.perturbing import perturb_file, perturbation
from privpipe.params import Params
from privpipe.scores.reference_classifier import load_reference_classifier
from privpipe.scores.scoring import count_copies, judge, load_originals


@dataclass(frozen=True)
class Inputs:
    """Files that all points share: raw and public images, the originals of level L2, and the reference classifier."""

    images: Path
    public: Path
    leaked: Path
    reference_classifier: Path


def measure_point(params: Params, inputs: Inputs, scratch: Path) -> dict[str, Any]:
    """Perturb, train, evaluate, attack and score with one set of parameters.

    Args:
        scratch: a folder for files that are not kept.

    Returns:
        `perturb`, `train`, `evaluate` and `privacy`, as the metrics of an experiment, and `attempts`: one entry for
        each attack that was run.
    """
    key, how, machine = new_key(params.key.seed), params.attack, params.train
    perturbed, model = scratch / "perturbed.h5", scratch / "model.safetensors"
    changed = perturb_file(inputs.images, perturbed, params.perturb, key)
    training = train_experiment(perturbed, params.model, machine, preparation(params.model.descrambler))
    save_bundle(model, training.bundle)
    evaluation = evaluate_file(perturbed, model, machine.device, machine.threads)
    view = load_view(perturbed, inputs.public, inputs.leaked, how.targets, how.stolen)
    records = suite(view, attacks(how.network_epochs, how.seed, machine.threads, machine.device))
    originals, labels = load_originals(inputs.images, len(view.targets))
    method = perturbation(params.perturb, view.image_size, key)
    recognise = load_reference_classifier(inputs.reference_classifier, machine.device, machine.threads)
    found = judge(view, records, originals, labels, method, recognise, count_copies(inputs.images, method))
    return {
        "parameters": params.perturb.model_dump(),
        "perturb": changed,
        "train": {**training.metrics, **training.times},
        "evaluate": evaluation.metrics,
        "privacy": found.metrics,
        "attempts": [row.cells() for row in found.rows],
        "problems": [f"{attack} {level}: {why}" for level, attack, _, why in found.problems],
    }
