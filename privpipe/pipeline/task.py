"""One model of the study, from raw images to one row of the table: what a worker runs.

It does what the stages keygen, perturb, train, evaluate and descramble do, with the same code and the same bytes.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from privpipe.attacks.descrambler_init import preparation
from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import save_bundle
from privpipe.nn.evaluate_job import evaluate_file
from privpipe.nn.models import DESCRAMBLER
from privpipe.nn.train_job import train_experiment
from privpipe.nn.training import Diverged
from privpipe.owner.key import new_key
from privpipe.owner.perturbing import perturb_file
from privpipe.params import Params
from privpipe.pipeline.code import Sources
from privpipe.pipeline.grid import Task
from privpipe.report.study_columns import COLUMNS, Row
from privpipe.scores.descrambler import score

# Of the code behind a model, what cannot decide a figure. All else that this module imports counts.
WITHOUT = frozenset(
    {
        "privpipe.pipeline.code",  # tells what the others do, and does nothing to a model
        "privpipe.errors",  # an error is no figure
        "privpipe.files",  # how a file is written, not what
        "privpipe.params",  # refuses parameters, and does not change them
        "privpipe.report.study_columns",  # a table with other columns is started anew
        "privpipe.pipeline.grid",  # a task's parameters are in its fingerprint, however they were put together
    }
)
# Where a model runs and what is done to it afterwards.
NOT_OF_THE_MODEL = {"train": {"device", "threads"}, "data": True, "attack": True}
# torch's settings and the scratch folder belong to the process.
ONE_RUN_AT_A_TIME = Lock()


@dataclass(frozen=True)
class Place:
    """What all models share.

    Args:
        images: the raw images, a file that every worker can read.
        scratch: a folder for files that are not kept, which every worker can write.
        fingerprint: of the images and the code, from `fingerprint_of_inputs`.
    """

    images: Path
    scratch: Path
    fingerprint: str


def fingerprint_of_inputs(images: str | Path) -> str:
    """The SHA-256 of the images and of the code that decides a result.

    Raises:
        PrivpipeError: the images are missing.
    """
    digest = hashlib.sha256()
    try:
        with Path(images).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise PrivpipeError(
            f"cannot read {images}: {error.strerror}. Make it with `dvc --cd studies/paper repro`."
        ) from error
    code = Sources(Path(__file__).parents[2]).behind("privpipe.pipeline.task", WITHOUT)
    digest.update(json.dumps(code).encode())
    return digest.hexdigest()


def fingerprint(task: Task, inputs: str) -> str:
    """16 hexadecimal digits that name a model by all that decides its result."""
    chosen = task.params.model_dump(mode="json", exclude=NOT_OF_THE_MODEL)  # type: ignore[arg-type]  # pydantic's own alias
    about = {"inputs": inputs, **chosen}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def run(task: Task, place: Place) -> Row:
    """Perturb, train, evaluate, and compare the descrambler where there is one.

    Returns:
        The values of `COLUMNS`; a training that diverged is a result too, with `status` "diverged" and no accuracy.

    Raises:
        PrivpipeError: the images cannot be read, the parameters do not fit them, or this process runs another model.
    """
    if not ONE_RUN_AT_A_TIME.acquire(blocking=False):
        raise PrivpipeError(
            "this process trains another model already. Start Dask workers with `--nthreads 1`, and as many as needed "
            "with `--nworkers`."
        )
    try:
        return _run(task, place)
    finally:
        ONE_RUN_AT_A_TIME.release()


def _run(task: Task, place: Place) -> Row:
    params = task.params
    how, key = params.train, new_key(params.key.seed)
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"group": task.group, **params.perturb.model_dump(), "draw": params.key.seed, "arch": params.model.arch}
    row["descrambler"] = params.model.descrambler if params.model.arch == DESCRAMBLER else ""
    row |= {name: getattr(how, name) for name in ("seed", "recipe", "epochs", "batch_size", "lr", "lr_decay", "reg")}
    row["fingerprint"] = fingerprint(task, place.fingerprint)
    perturbed, counts = _perturbed(params, place)
    row |= counts
    try:
        prepare = preparation(params.model.descrambler, progress=False)
        training = train_experiment(perturbed, params.model, how, prepare, progress=False)
    except Diverged:
        return {**row, "status": "diverged"}
    model = perturbed.with_suffix(".safetensors")
    save_bundle(model, training.bundle)
    accuracy = evaluate_file(perturbed, model, how.device, how.threads).metrics
    found = score(training.bundle, key)
    figures = {**training.metrics, **training.times, **accuracy, **found.metrics}
    row |= {name: figures[name] for name in COLUMNS if name in figures}
    row["blocks_by_right_pixels"] = " ".join(str(blocks) for _, blocks, _ in found.histogram())
    return {**row, "status": "done"}


def _perturbed(params: Params, place: Place) -> tuple[Path, dict[str, Any]]:
    """The perturbed images of an experiment, and how many; models that follow each other share them."""
    what = json.dumps([params.perturb.model_dump(), params.key.seed, place.fingerprint], sort_keys=True)
    folder = place.scratch / f"worker-{os.uname().nodename}-{os.getpid()}"
    path = folder / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.h5"
    counts = path.with_suffix(".json")
    if not counts.exists():
        shutil.rmtree(folder, ignore_errors=True)  # there is none before the first model
        folder.mkdir(parents=True)
        changed = perturb_file(place.images, path, params.perturb, new_key(params.key.seed), progress=False)
        counts.write_text(json.dumps({name: changed[name] for name in ("n_train", "n_val", "n_test")}))
    return path, json.loads(counts.read_text())
