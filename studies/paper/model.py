"""One model of the study: what is measured of it."""

from pathlib import Path
from typing import Any

from privpipe.networks.registry import NETWORKS
from privpipe.nn.device import processor_name, resolve_device
from privpipe.nn.training import Diverged
from privpipe.params import Params
from privpipe.pipeline.experiment import Experiment


def measure(params: Params, scratch: Path, images: Path) -> dict[str, Any]:
    """Perturb, train, evaluate, and compare the descrambler where there is one.

    Args:
        scratch: a folder of this process for files that are not kept.
        images: raw images (RAW).

    Returns:
        Figures by the names of `studies.paper.columns.COLUMNS`, and others; a training that diverged is a result too,
        with `status` "diverged" and no accuracy.

    Raises:
        PrivpipeError: the images cannot be read, or the parameters do not fit them.
    """
    return measure_experiment(Experiment(params, images, scratch))


def measure_experiment(experiment: Experiment) -> dict[str, Any]:
    """Train, evaluate and compare as `measure` does."""
    params = experiment.params
    descrambler = params.model.descrambler if NETWORKS[params.model.arch].descrambles else ""
    row = {**params.perturb.model_dump(), "draw": params.key.seed, **params.train.model_dump(exclude={"device"})}
    row["processor"] = processor_name(resolve_device(params.train.device))
    row |= {"arch": params.model.arch, "descrambler": descrambler, **experiment.perturbing}
    try:
        row |= experiment.training.metrics | experiment.training.times
    except Diverged:
        return {**row, "status": "diverged"}
    inferred = experiment.descrambler
    blocks = " ".join(str(blocks) for _, blocks, _ in inferred.histogram())
    row |= {**experiment.evaluation.metrics, **inferred.metrics, "blocks_by_right_pixels": blocks}
    return {**row, "status": "done"}
