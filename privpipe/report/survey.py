"""The survey: accuracy against measured privacy, one point per perturbation, all on the same images."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from privpipe.attacker.campaign import campaign, load_loot
from privpipe.attacker.registry import attacks
from privpipe.cloud.bundle import save_bundle
from privpipe.cloud.evaluate_job import evaluate_file
from privpipe.cloud.train_job import train_experiment
from privpipe.errors import PrivpipeError
from privpipe.owner.key import new_key
from privpipe.owner.perturbing import perturb_file, perturbation
from privpipe.params import Params, check_params, unknown
from privpipe.report.recogniser import load_recogniser
from privpipe.report.scoring import count_copies, judge, load_originals

LEVELS = ("l0", "l1", "l2", "l3")
ACCURACY = ("val_accuracy", "test_accuracy", "test_accuracy_low", "test_accuracy_high")


@dataclass(frozen=True)
class Inputs:
    """Files that all points share: raw and public images, the originals of level L2, and the recogniser."""

    images: Path
    public: Path
    leaked: Path
    recogniser: Path


def load_points(path: str | Path) -> dict[str, dict[str, Any]]:
    """The points of a file by name, each with the parameters `method`, `k`, `scope` and `sigma` of `perturb`.

    Raises:
        PrivpipeError: the file is missing, no YAML, or holds no points.
    """
    try:
        points = YAML(typ="safe", pure=True).load(Path(path))["points"]
        return {str(name): dict(point) for name, point in points.items()}
    except (OSError, YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise PrivpipeError(f"cannot read points from {path}: {error}. Restore survey/points.yaml.") from error


def load_point(params_file: str | Path, points_file: str | Path, name: str) -> Params:
    """The parameters of one point: those common to all, with its own perturbation.

    Raises:
        PrivpipeError: a file cannot be read, there is no such point, or its parameters are impossible.
    """
    points = load_points(points_file)
    if name not in points:
        raise PrivpipeError(unknown("a point of the survey", name, list(points)))
    try:
        common = dict(YAML(typ="safe", pure=True).load(Path(params_file)))
    except (OSError, YAMLError, TypeError, ValueError) as error:
        raise PrivpipeError(f"cannot read {params_file}: {error}. Restore survey/common.yaml.") from error
    return check_params(common | {"perturb": points[name]}, f"{params_file} with point {name}")


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
    training = train_experiment(perturbed, params.model, machine)
    save_bundle(model, training.bundle)
    evaluation = evaluate_file(perturbed, model, machine.device, machine.threads)
    loot = load_loot(perturbed, inputs.public, inputs.leaked, how.targets, how.stolen)
    records = campaign(loot, attacks(how.network_epochs, how.seed, machine.threads, machine.device))
    originals, labels = load_originals(inputs.images, len(loot.targets))
    method = perturbation(params.perturb, loot.image_size, key)
    recognise = load_recogniser(inputs.recogniser, machine.device, machine.threads)
    found = judge(loot, records, originals, labels, method, recognise, count_copies(inputs.images, method))
    return {
        "parameters": params.perturb.model_dump(),
        "perturb": changed,
        "train": training.metrics,
        "evaluate": evaluation.metrics,
        "privacy": found.metrics,
        "attempts": [row.cells() for row in found.rows],
        "problems": [f"{attack} {level}: {why}" for level, attack, _, why in found.problems],
    }


def points_table(points_file: str | Path, results: str | Path) -> pd.DataFrame:
    """One row for each point: its parameters, accuracy, and all of its privacy metrics.

    `l0_privacy` to `l3_privacy` are 1 - SSIM of the best reconstruction of that level, at least 0.

    Raises:
        PrivpipeError: a result is missing or damaged.
    """
    rows = []
    for point, result in _results(points_file, results):
        privacy = {f"{level}_privacy": 1 - min(1.0, result["privacy"][f"{level}_ssim"] or 0.0) for level in LEVELS}
        accuracy = {name: result["evaluate"][name] for name in ACCURACY}
        rows.append({"point": point, **result["parameters"], **accuracy, **privacy, **result["privacy"]})
    return pd.DataFrame(rows)


def attempts_table(points_file: str | Path, results: str | Path) -> pd.DataFrame:
    """One row for each attack on each point, at each level and number of known pairs."""
    rows = [
        {"point": name, **result["parameters"], **attempt}
        for name, result in _results(points_file, results)
        for attempt in result["attempts"]
    ]
    return pd.DataFrame(rows)


def _results(points_file: str | Path, results: str | Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name in load_points(points_file):
        path = Path(results) / f"{name}.json"
        try:
            found.append((name, json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            raise PrivpipeError(f"cannot read {path}: {error}. Make it with `dvc repro survey/dvc.yaml`.") from error
    return found
