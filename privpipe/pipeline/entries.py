"""Evaluations by the standard suite: the runs of a method, and the record that they make together."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from privpipe.attacks.standard import NEWEST, Size, network_steps
from privpipe.errors import PrivpipeError, unknown
from privpipe.nn.statistics import wilson_interval
from privpipe.params import CIFAR10_SIZE, CIFAR10_TRAIN, Params, check_params
from privpipe.perturb import METHODS
from privpipe.pipeline.evaluation import measure
from privpipe.pipeline.fingerprint import Measurement
from privpipe.pipeline.grid import Task
from privpipe.pipeline.ledger import read_rows
from privpipe.scores.entry import SHOWABLE, Entry, Scheme

COLUMNS = ("group", "measured", "code", "fingerprint")
RUN = Measurement(measure, COLUMNS)
KINDS = ("exactly", "at_most", "at_least")
COMMON = ("k", "scope", "sigma")  # settings of all methods
CUSTOM = "custom"  # the size of a run that is none of the suite's

Measured = dict[str, Any]


def size_named(name: str) -> Size:
    """A size of the newest suite.

    Raises:
        PrivpipeError: there is none of that name.
    """
    if name not in NEWEST.sizes:
        raise PrivpipeError(unknown("the size", name, list(NEWEST.sizes)))
    return NEWEST.sizes[name]


def data_of(size: Size, source: str, archive: str | None = None, sha256: str | None = None) -> dict[str, Any]:
    """The group `data` of the parameters, as a size says.

    Args:
        source: cifar10 or synthetic.
        archive, sha256: see `privpipe.parameters.Data`.
    """
    owned = CIFAR10_TRAIN if source == "cifar10" else size.train + size.val + size.public
    return {
        "source": source,
        "archive": archive,
        "sha256": sha256,
        "path": None,
        "on_error": "stop",
        "image_size": CIFAR10_SIZE,
        "n_train": size.train,
        "n_val": size.val,
        "n_test": size.test,
        "public": size.public / owned,
        "split_seed": 0,
    }


def params_of(size: Size, data: Mapping[str, Any], perturb: Mapping[str, Any], network: str, recipe: str) -> Params:
    """All parameters of the first run of a method.

    Raises:
        PrivpipeError: they do not go together.
    """
    return check_params(
        {
            "data": dict(data),
            "key": {"seed": 0},
            "perturb": dict(perturb),
            "model": {"arch": network, "descrambler": "learned", "penalty": "l1"},
            "train": {
                "epochs": size.epochs,
                "batch_size": 64,
                "recipe": recipe,
                "lr": 0.001,
                "lr_decay": 0.8,
                "reg": 0.001,
                "seed": 0,
                "device": "auto",
                "threads": 1,
                "precision": "float32",
                "memory_mb": None,
            },
            "attack": {
                "targets": size.targets,
                "candidates": size.candidates,
                "stolen": None,
                "pairs": size.pairs,
                "network_epochs": size.network_epochs,
                "reference_epochs": size.reference_epochs,
                "seed": 0,
            },
        },
        "the evaluation",
    )


def tasks_of(group: str, params: Params, size: Size) -> list[Task]:
    """The runs of a method: every key with every training seed of a size."""
    return [
        Task(
            group,
            params.model_copy(
                update={
                    "key": params.key.model_copy(update={"seed": key}),
                    "train": params.train.model_copy(update={"seed": seed}),
                }
            ),
        )
        for key in range(size.keys)
        for seed in range(size.seeds)
    ]


def size_of(runs: Sequence[Params]) -> str:
    """The size of the newest suite that runs are of; "custom" where they are of none."""
    first = runs[0]
    if first.data.source not in SHOWABLE:  # the suite's sizes are of public images
        return CUSTOM
    for name, size in NEWEST.sizes.items():
        data = data_of(size, first.data.source, first.data.archive, first.data.sha256)
        asked = params_of(size, data, first.perturb.model_dump(), first.model.arch, first.train.recipe)
        if [_decides(task.params) for task in tasks_of("", asked, size)] == [_decides(run) for run in runs]:
            return name
    return CUSTOM


def _decides(params: Params) -> dict[str, Any]:
    """What a size fixes of the parameters."""
    return params.model_dump(exclude={"model": {"penalty", "descrambler"}, "train": {"device", "threads", "precision"}})


def load_runs(path: str | Path) -> dict[str, list[Measured]]:
    """The runs of a sweep's table with the code that they are of, by their group, in order.

    Raises:
        PrivpipeError: the file is missing or holds no runs.
    """
    groups: dict[str, list[Measured]] = {}
    try:
        for group, measured, code, _ in read_rows(Path(path), COLUMNS):
            groups.setdefault(group, []).append(json.loads(measured) | {"code": code})
    except ValueError as error:
        raise PrivpipeError(f"cannot read {path}: {error}. Remove it, and evaluate again.") from error
    if not groups:
        raise PrivpipeError(f"{path} holds no runs. Evaluate again.")
    return groups


def make_entry(runs: Sequence[Measured], images: str | Path, public: str | Path) -> Entry:
    """The record of one method.

    Args:
        runs: of all keys and training seeds, in any order; at least one of them attacked.
        images, public: the files that they were measured on.

    Raises:
        PrivpipeError: a file cannot be read.
    """
    runs = sorted(runs, key=lambda run: (run["params"]["key"]["seed"], run["params"]["train"]["seed"]))
    params = [check_params(run["params"], "a run") for run in runs]
    first, attacked = params[0], [run["attacked"] for run in runs if run["attacked"] is not None]
    privacy, names = [one["privacy"] for one in attacked], attacked[0]["attacks"]
    content = {
        "scheme": scheme_of(first).model_dump(),
        "suite": {"title": NEWEST.with_others(names), "size": size_of(params), "attacks": names},
        "budget": {
            **runs[0]["counts"],
            **{name: attacked[0][name] for name in ("public", "targets", "pairs", "seconds")},
            "candidates": privacy[0]["identified_candidates"],
            "network_steps": network_steps(attacked[0]["public"], first.attack.network_epochs),
            "epochs": first.train.epochs,
        },
        "images": {"source": first.data.source, "digest": _sha256(images), "public_digest": _sha256(public)},
        "machine": runs[0]["machine"],
        "code": runs[0]["code"],
        "keys": sorted({run["params"]["key"]["seed"] for run in runs}),
        "seeds": sorted({run.train.seed for run in params}),
        "accuracy": accuracy(_by_key(runs), runs[0]["counts"]["test"]),
        "identified": _identified(privacy),
        "privacy": _ranges(privacy),
        "attempts": [attempt | {"run": number} for number, one in enumerate(attacked) for attempt in one["attempts"]],
        "problems": _once(one["problems"] for one in attacked),
        "flags": _once(one["flags"] for one in attacked),
        "cost": _cost([run["cost"] for run in runs]),
        "figure": attacked[0]["figure"] if first.data.source in SHOWABLE else None,
    }
    return Entry.model_validate(content)


def scheme_of(params: Params) -> Scheme:
    """What is evaluated."""
    return Scheme(
        name=params.perturb.method,
        package=package_of(params.perturb.method),
        **{name: getattr(params.perturb, name) for name in COMMON},
        settings={name: float(value) for name, value in params.perturb.own.items()},
        network=params.model.arch,
        recipe=params.train.recipe,
    )


def _by_key(runs: Sequence[Measured]) -> list[list[float]]:
    """Test accuracies, those of each key together."""
    keys: dict[int, list[float]] = {}
    for run in runs:
        keys.setdefault(run["params"]["key"]["seed"], []).append(run["evaluate"]["test_accuracy"])
    return list(keys.values())


def accuracy(by_key: Sequence[Sequence[float]], count: int) -> dict[str, float]:
    """The mean with a 95 % interval.

    Student's t over the keys, each with the mean of its training seeds, which are alike; over the seeds where there is
    one key, or all keys gave the same, as they do where a method has none. Wilson's for one run on `count` images.

    Args:
        by_key: 0..1, the seeds of each key in one order.
    """
    same = len(set(map(tuple, by_key))) == 1
    sample = list(by_key[0]) if same else [sum(values) / len(values) for values in by_key]
    mean, runs = sum(sample) / len(sample), sum(len(values) for values in by_key)
    if len(sample) == 1:
        low, high = wilson_interval(round(mean * count), count)
    else:
        spread = math.sqrt(sum((value - mean) ** 2 for value in sample) / (len(sample) - 1) / len(sample))
        reach = float(stdtrit(len(sample) - 1, 0.975)) * spread
        low, high = max(0.0, mean - reach), min(1.0, mean + reach)
    return {"mean": mean, "low": low, "high": high, "runs": runs}


def _ranges(privacy: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean, least and greatest of every number, over the keys that have it; what is said of identification is apart."""
    ranges = {}
    for name in privacy[0]:
        values = [float(one[name]) for one in privacy if isinstance(one[name], int | float)]
        if values and not name.startswith("identified_"):
            mean = sum(values) / len(values)
            ranges[name] = {"mean": mean, "low": min(values), "high": max(values), "runs": len(values)}
    return ranges


def _identified(privacy: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The three statements; of several keys the adversary's best."""
    stated: dict[str, Any] = {"prior": privacy[0]["identified_prior"], "why": {}}
    for kind in KINDS:
        values = [one[f"identified_{kind}"] for one in privacy if one[f"identified_{kind}"] is not None]
        stated[kind] = max(values, default=None)
        if not values:
            stated["why"][kind] = privacy[0][f"identified_{kind}_why"] or "it was not measured"
    return stated


def _cost(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seconds = {name: sum(cost[name] for cost in costs) / len(costs) for name in ("owner_seconds", "cloud_seconds")}
    return {**{name: round(value, 3) for name, value in seconds.items()}, "bytes": costs[0]["bytes"]}


def _once(lists: Iterable[Sequence[str]]) -> list[str]:
    """Sentences of several keys, each once, in order."""
    return list(dict.fromkeys(sentence for sentences in lists for sentence in sentences))


def package_of(method: str) -> str:
    """The package that a method comes from, with its version where it has one; its module where none is installed."""
    module = METHODS[method].__module__
    owners = packages_distributions().get(module.partition(".")[0], [])
    return f"{owners[0]} {version(owners[0])}" if owners else module


def _sha256(path: str | Path) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PrivpipeError(f"cannot read {path}: {error.strerror}. Evaluate again.") from error
