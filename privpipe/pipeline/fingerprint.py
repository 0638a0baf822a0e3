"""What a sweep measures, and the fingerprint that names a measurement by all that decides its result."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS
from privpipe.pipeline.code import Sources
from privpipe.pipeline.grid import Task

Row = dict[str, Any]
# Of the code behind a measurement, what cannot decide a figure. All else that it imports counts.
WITHOUT = frozenset(
    {
        "privpipe.errors",  # an error is no figure
        "privpipe.files",  # how a file is written, not what
        "privpipe.parameters",  # parameters are refused, and not changed
        "privpipe.params",
    }
)
# Where it runs, and what is only ever refused. The images count themselves, however they were made.
NOT_OF_A_RESULT = {"key": {"budget"}, "train": {"device", "threads"}, "data": True}


@dataclass(frozen=True)
class Measurement:
    """What is measured of each experiment of a sweep.

    Args:
        measure: from the parameters of an experiment, a folder for files that are not kept, and by name the files that
            all experiments share, to its figures by name. A function of a module, which worker processes import; that
            module and what it imports is the code that a result is of.
        columns: the figures that are kept, in order; a table with other columns is started anew. `group`,
            `code` (the first 16 digits of `code_of`) and `fingerprint` may be among them.
        without: groups of parameters that `measure` does not use.
    """

    measure: Callable[..., Row]
    columns: tuple[str, ...]
    without: tuple[str, ...] = ()


def fingerprint_of_inputs(code: str, inputs: Mapping[str, Path]) -> str:
    """The SHA-256 of the files that experiments share and of the code that decides a result.

    Args:
        code: from `code_of`.

    Raises:
        PrivpipeError: a file is missing.
    """
    digest = hashlib.sha256()
    for path in inputs.values():
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise PrivpipeError(f"cannot read {path}: {error.strerror}. Make it with `dvc repro`.") from error
    digest.update(code.encode())
    return digest.hexdigest()


def code_of(measurement: Measurement, method: str | None = None) -> str:
    """The code that decides a result, in 64 hexadecimal digits: the SHA-256 over the digests of its files.

    Args:
        method: the only one that is used, so that the files of others do not count; None: all of them do.
    """
    only = {} if method is None else {METHODS.folder: METHODS[method].__module__}
    code = Sources(Path(__file__).parents[2]).behind(measurement.measure.__module__, WITHOUT, only)
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def fingerprint(task: Task, measurement: Measurement, inputs: str) -> str:
    """16 hexadecimal digits that name a measurement by all that decides its row: its group, which stands there, too.

    Args:
        inputs: from `fingerprint_of_inputs`.
    """
    exclude = NOT_OF_A_RESULT | dict.fromkeys(measurement.without, True)
    about = task.params.model_dump(mode="json", exclude=exclude)  # type: ignore[arg-type]  # pydantic's own alias
    about |= {"inputs": inputs, "group": task.group}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
