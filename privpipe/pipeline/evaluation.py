"""One run of an evaluation by the standard suite: from raw images to accuracy, attacks, scores, flags and cost.

What makes a record of several runs is in `privpipe.pipeline.entries`, so that a word there measures nothing again.
"""

import base64
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from privpipe.attacks.base import AdversaryView, Budget
from privpipe.attacks.records import Record, as_images
from privpipe.attacks.registry import ATTACKS
from privpipe.attacks.standard import NEWEST
from privpipe.attacks.suite import load_view, run, situations
from privpipe.params import Params
from privpipe.perturb.base import Array, Images
from privpipe.pipeline.attacked import AttackedExperiment
from privpipe.pipeline.executors import available_cpus
from privpipe.pipeline.steps.score import Inputs
from privpipe.plugins import named
from privpipe.report.display import displayable
from privpipe.scores import fidelity
from privpipe.scores.flags import flags
from privpipe.scores.scoring import Judgement, published

SHOWN = 8  # images side by side
PACKAGES = ("privpipe", "torch", "numpy", "scipy", "opencv-python-headless")


def names_of_attacks() -> frozenset[str]:
    """The attacks of the newest suite, and those that were named for this run (`privpipe.plugins.name_plugin`)."""
    others = {entry.load().name for entry in named("privpipe.attacks")}
    return NEWEST.attacks | others


def measure(params: Params, scratch: Path, **inputs: Path) -> dict[str, Any]:
    """Perturb, train and evaluate; attack and score where the training seed is that of the attacks.

    The attacks depend on the key and not on the classifier, so that of the runs of one key only one attacks.

    Args:
        scratch: a folder of this process for files that are not kept.
        inputs: see `privpipe.pipeline.steps.score.Inputs`.

    Returns:
        `measured`, what `privpipe.pipeline.entries` makes a record of.

    Raises:
        PrivpipeError: a file cannot be read, the parameters do not fit the images, or the training diverged.
    """
    experiment = AttackedExperiment(params, Inputs(**inputs), scratch, names_of_attacks())
    evaluation = experiment.evaluation.metrics
    measured = {
        "params": params.model_dump(),
        "evaluate": evaluation,
        "cost": {
            "owner_seconds": experiment.perturbing_seconds,
            "cloud_seconds": experiment.training.times["seconds"],
            "bytes": experiment.perturbing["bytes"],
        },
        "counts": {name: experiment.perturbing[f"n_{name}"] for name in ("train", "test")},
        "machine": machine(str(experiment.training.metrics["device"])),
        "attacked": _attacked(experiment) if params.train.seed == params.attack.seed else None,
    }
    return {"measured": measured}


def _attacked(experiment: AttackedExperiment) -> dict[str, Any]:
    judgement, originals, targets = experiment.scored
    assert targets is not None  # `evaluate` refuses releases of a whole set, which have no images
    budget, inputs = experiment.params.attack, experiment.inputs
    view = load_view(experiment.perturbed, inputs.public, inputs.leaked, budget.targets, budget.stolen)
    gains = network_gains(experiment.params, view, experiment.records, originals)
    attempts = [published(row.cells()) | {"seconds": row.seconds} for row in judgement.rows]
    return {
        "privacy": published(judgement.metrics),
        "attempts": attempts,
        "problems": [f"{attack} at {level}: {why}" for level, attack, _, why in judgement.problems],
        "flags": flags(judgement.rows, judgement.metrics, judgement.problems, gains),
        "attacks": sorted({record.attack for record in experiment.records}),
        "public": 0 if view.public is None else len(view.public),
        "pairs": 0 if view.pairs is None else len(view.pairs.originals),
        "targets": len(view.targets),
        "seconds": round(sum(record.seconds or 0.0 for record in experiment.records), 2),
        "figure": figure(originals, targets, judgement),
    }


def network_gains(params: Params, view: AdversaryView, records: list[Record], originals: Images) -> dict[str, float]:
    """SSIM that every network of the attacks gains by training twice as long, at the highest level where it was run.

    Args:
        records: of these attacks on `view`.
        originals: of the targets.
    """
    run_last = {record.attack: record for record in records if record.images is not None}
    budget, machine = params.attack, params.train
    twice = Budget(2 * budget.network_epochs, budget.seed, machine.threads, machine.device, machine.precision)
    gains = {}
    for name, record in run_last.items():
        longer = ATTACKS[name].within(twice) if ATTACKS[name].costly else None
        if longer is None or record.images is None:
            continue
        *_, known = (known for level, known in situations(view) if level == record.level)
        again = run(longer, record.level, known)
        if again.images is not None:
            before, after = (
                float(fidelity.ssim(originals, as_images(r)).mean()) for r in (record.images, again.images)
            )
            gains[f"{name} at {record.level}"] = after - before
    return gains


def figure(originals: Images, targets: Array, judgement: Judgement) -> dict[str, Any]:
    """The first targets: as they are, as they are uploaded, and as the best attack of each level shows them.

    Returns:
        `rows`, a label for each, and `png`, the images in base64, one row below the other.
    """
    whites = {"upload": 255.0 if targets.dtype == np.uint8 else 1.0}
    rows: dict[str, Any] = {"original": originals, "upload": targets}
    if targets.shape[1:] != originals.shape[1:]:  # features, which nobody can look at
        del rows["upload"]
    rows |= {f"{level}: {attack}": images for level, (attack, images) in judgement.images.items()}
    shown = {
        label: [displayable(image, (0.0, whites.get(label, 255.0))) for image in images[:SHOWN]]
        for label, images in rows.items()
    }
    lines = [np.concatenate(images, axis=1) for images in shown.values()]
    coded = cv2.imencode(".png", np.concatenate(lines)[..., ::-1])[1]
    return {"rows": list(rows), "png": base64.b64encode(coded.tobytes()).decode()}


def machine(device: str) -> dict[str, Any]:
    """What a run is measured with: the model and number of processors, the device of the training, versions."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        processor = models[0] if models else processor
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return {"processor": f"{processor}, {available_cpus()} usable", "device": device, "versions": versions}
