"""Run experiments of a sweep: those that are missing, side by side, the row of each on disk at once."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from pathlib import Path
from threading import Lock

from tqdm import tqdm

from privpipe.errors import PrivpipeError
from privpipe.params import Params
from privpipe.pipeline.executors import open_executor
from privpipe.pipeline.fingerprint import Measurement, Row, code_of, fingerprint, fingerprint_of_inputs
from privpipe.pipeline.grid import Sweep, Task
from privpipe.pipeline.ledger import Ledger

BREAKS = 3  # worker processes that may die (out of memory, say) before a sweep is given up
Submit = Callable[[Executor, Task], Future[Row]]
# torch's settings and the scratch folder belong to the process.
ONE_RUN_AT_A_TIME = Lock()


@cache
def _code_here(measurement: Measurement, method: str) -> str:
    """`code_of` as of the first time that this process measured, when it imported that code."""
    return code_of(measurement, method)


def run(measurement: Measurement, params: Params, scratch: Path, inputs: Mapping[str, Path], code: str) -> Row:
    """Measure one experiment: what a worker does.

    Args:
        code: from `code_of`, what the row will be said to be of.

    Raises:
        PrivpipeError: as of `measure`, this process runs another experiment, or it has other code: workers on a cluster
            outlive a change, and may be of another checkout.
    """
    if not ONE_RUN_AT_A_TIME.acquire(blocking=False):
        raise PrivpipeError(
            "this process runs another experiment already. Start Dask workers with `--nthreads 1`, and as many as "
            "needed with `--nworkers`."
        )
    try:
        if _code_here(measurement, params.perturb.method) != code:
            raise PrivpipeError(
                "this worker runs other code than the sweep: it was started before a change, or from another checkout. "
                "Start the Dask workers again."
            )
        return measurement.measure(params, scratch / f"worker-{os.uname().nodename}-{os.getpid()}", **inputs)
    finally:
        ONE_RUN_AT_A_TIME.release()


def run_sweep(
    tasks: list[Task],
    measurement: Measurement,
    inputs: Mapping[str, str | Path],
    rows: str | Path,
    scratch: str | Path,
    sweep: Sweep,
) -> None:
    """Measure the experiments that `rows` does not hold yet.

    Args:
        tasks: the experiments, in the order of the grid.
        inputs: the files that they share, by name; workers on other machines must see the same absolute paths.
        rows: a CSV file with a row for each experiment; rows of these are kept, others dropped.
        scratch: a folder for files that are not kept, of one or more sweeps. Workers must see it too.
        sweep: where they are run.

    Raises:
        PrivpipeError: an input cannot be read, there is no such scheduler, another sweep fills the table, or
            experiments failed. Those that did not fail are on disk.
    """
    with _alone(Path(rows)):
        _run_sweep(tasks, measurement, inputs, rows, scratch, sweep)


@contextmanager
def _alone(rows: Path) -> Iterator[None]:
    """One sweep at a time for each table: a second one would take its rows and its files away."""
    rows.parent.mkdir(parents=True, exist_ok=True)
    with rows.with_name(f".{rows.stem}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PrivpipeError(f"another run fills {rows}. Wait for it, or stop it.") from error
        yield


def _run_sweep(
    tasks: list[Task],
    measurement: Measurement,
    inputs: Mapping[str, str | Path],
    rows: str | Path,
    scratch: str | Path,
    sweep: Sweep,
) -> None:
    files = {name: Path(path).absolute() for name, path in inputs.items()}
    # A method that is added measures nothing of the others again.
    codes = {method: code_of(measurement, method) for method in {task.params.perturb.method for task in tasks}}
    digests = {method: fingerprint_of_inputs(code, files) for method, code in codes.items()}
    by_name = _by_fingerprint(tasks, measurement, digests)
    ledger = Ledger(rows, measurement.columns, list(by_name))
    missing = {name: by_name[name] for name in ledger.missing}
    place = Path(scratch).absolute() / ledger.path.stem  # another group may be run at the same time

    def submit(executor: Executor, task: Task) -> Future[Row]:
        return executor.submit(run, measurement, task.params, place, files, codes[task.params.perturb.method])

    failed: list[str] = []
    shutil.rmtree(place, ignore_errors=True)  # there may be none; a killed run leaves one
    try:
        with tqdm(total=len(tasks), initial=len(ledger.rows), desc=ledger.path.stem, unit="run", disable=None) as bar:
            for name, result in _results(missing, submit, sweep):
                task = by_name[name]
                if isinstance(result, Exception):
                    failed.append(f"{task.name}: {result}")
                else:
                    code = codes[task.params.perturb.method][:16]
                    ledger.add({**result, "group": task.group, "code": code, "fingerprint": name})
                bar.update()
    finally:
        shutil.rmtree(place, ignore_errors=True)  # what is left of it, the next run removes
        with suppress(OSError):  # there was nothing to do, or another group is in it
            place.parent.rmdir()
    ledger.tidy()
    if failed:
        raise PrivpipeError(
            f"{len(failed)} of {len(tasks)} of {ledger.path.stem} failed. The others are in {rows}; run the "
            "same command again for these alone:\n" + "\n".join(failed)
        )


def _by_fingerprint(tasks: list[Task], measurement: Measurement, digests: Mapping[str, str]) -> dict[str, Task]:
    """The tasks by their fingerprints; `digests`: of the shared files and the code, by method.

    Raises:
        PrivpipeError: two tasks have the same.
    """
    by_name: dict[str, Task] = {}
    for task in tasks:
        twin = by_name.setdefault(fingerprint(task, measurement, digests[task.params.perturb.method]), task)
        if twin is not task:
            raise PrivpipeError(f"{task.name} and {twin.name} are measured alike. Take one of them out.")
    return by_name


def _results(tasks: dict[str, Task], submit: Submit, sweep: Sweep) -> Iterator[tuple[str, Row | Exception]]:
    """The name of each task with its row, or with the error that it ended with, as they end."""
    left, breaks = dict(tasks), 0
    while left:
        machine = next(iter(left.values())).params.train
        try:
            with open_executor(sweep.scheduler, sweep.workers, machine.device, machine.threads) as (executor, window):
                for name, future in _as_completed(executor, left, submit, window):
                    if future.cancelled():
                        raise PrivpipeError(
                            f"sweep.scheduler={sweep.scheduler} gave experiments up: it has ended, or was restarted. "
                            "What is done is on disk. Start it again and run the same command again."
                        )
                    error = future.exception()
                    if isinstance(error, BrokenExecutor):
                        raise error
                    del left[name]
                    yield name, error if isinstance(error, Exception) else future.result()
        except BrokenExecutor as error:
            breaks += 1
            if breaks > BREAKS:
                raise PrivpipeError(
                    f"worker processes died {breaks} times, perhaps for want of memory. What is done is on disk. Set "
                    "sweep.workers to a smaller number and run the same command again."
                ) from error


def _as_completed(
    executor: Executor, tasks: dict[str, Task], submit: Submit, window: int
) -> Iterator[tuple[str, Future[Row]]]:
    """Submit the tasks in order, at most `window` ahead, and yield them as they end."""
    waiting = iter(list(tasks.items()))
    running: dict[Future[Row], str] = {}
    while True:
        for name, task in islice(waiting, window - len(running)):
            running[submit(executor, task)] = name
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        # Rows first: a dead worker ends the round, and what came in at the same moment must not be lost.
        for future in sorted(done, key=lambda future: future.cancelled() or future.exception() is not None):
            yield running.pop(future), future
