"""One point of the survey: what is measured of it."""

from pathlib import Path
from typing import Any

from privpipe.nn.device import processor_name, resolve_device
from privpipe.params import Params
from privpipe.pipeline.attacked import AttackedExperiment
from privpipe.pipeline.steps.score import Inputs


def measure(params: Params, scratch: Path, **inputs: Path) -> dict[str, Any]:
    """Perturb, train, evaluate, attack and score.

    Args:
        scratch: a folder of this process for files that are not kept.
        inputs: see `privpipe.pipeline.steps.score.Inputs`.

    Returns:
        `parameters` of the perturbation; `perturb`, `train`, `evaluate` and `privacy` as the metrics of an experiment;
        `attempts`, one entry for each attack that was run; `problems`, what was not run or not measured; and
        `processor`, the name of what it ran on.

    Raises:
        PrivpipeError: a file cannot be read, the parameters do not fit the images, or the training diverged.
    """
    experiment = AttackedExperiment(params, Inputs(**inputs), scratch)
    evaluation = experiment.evaluation  # before the attacks: a training that comes to nothing takes less time
    judgement = experiment.judgement
    return {
        "parameters": params.perturb.model_dump(),
        "perturb": experiment.perturbing,
        "train": experiment.training.metrics | experiment.training.times,
        "evaluate": evaluation.metrics,
        "privacy": judgement.metrics,
        "attempts": [row.cells() for row in judgement.rows],
        "problems": [f"{attack} {level}: {why}" for level, attack, _, why in judgement.problems],
        "processor": processor_name(resolve_device(params.train.device)),
    }
