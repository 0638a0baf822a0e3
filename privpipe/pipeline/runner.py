"""Run a group of the study: what is missing of it, side by side, each model's row on disk at once."""

import shutil
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from privpipe.errors import PrivpipeError
from privpipe.pipeline.executors import open_executor
from privpipe.pipeline.grid import Study, Task
from privpipe.pipeline.ledger import Ledger
from privpipe.pipeline.task import Place, fingerprint, fingerprint_of_inputs, run
from privpipe.report.study_columns import Row

BREAKS = 3  # worker processes that may die (out of memory, say) before a group is given up


def run_group(tasks: list[Task], images: str | Path, rows: str | Path, scratch: str | Path, how: Study) -> None:
    """Train the models of a group that `rows` does not hold yet.

    Args:
        tasks: the models, in the order of the grid.
        images: raw images (RAW); workers on other machines must see the same path.
        rows: a CSV file; rows of these models are kept, others dropped.
        scratch: a folder for files that are not kept; what is in it is removed. Workers must see it too.

    Raises:
        PrivpipeError: the images cannot be read, there is no such scheduler, or models failed. Those that did not
            fail are on disk.
    """
    place = Place(Path(images).absolute(), Path(scratch).absolute(), fingerprint_of_inputs(images))
    by_name = {fingerprint(task, place.fingerprint): task for task in tasks}
    ledger = Ledger(rows, list(by_name))
    missing = [by_name[name] for name in ledger.missing]
    failed: list[str] = []
    shutil.rmtree(scratch, ignore_errors=True)  # there may be none; a killed run leaves one
    try:
        with tqdm(total=len(tasks), initial=len(ledger.rows), desc=tasks[0].group, unit="model", disable=None) as bar:
            for task, result in _results(missing, place, how):
                if isinstance(result, Exception):
                    failed.append(f"{task.name}: {result}")
                else:
                    ledger.add(result)
                    if result["status"] == "done":
                        bar.set_postfix(last=f"{result['val_accuracy']:.3f}")
                bar.update()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # what is left of it, the next run removes
    ledger.close()
    if failed:
        raise PrivpipeError(
            f"{len(failed)} of {len(tasks)} models of {tasks[0].group} failed. The others are in {rows}; run the same "
            "command again for these alone:\n" + "\n".join(failed)
        )


def _results(tasks: list[Task], place: Place, how: Study) -> Iterator[tuple[Task, Row | Exception]]:
    """Each task with its row, or with the error that it ended with, as they end."""
    left, breaks = list(tasks), 0
    while left:
        machine = left[0].params.train
        try:
            with open_executor(how.scheduler, how.workers, machine.device, machine.threads) as (executor, window):
                for task, future in _as_completed(executor, left, place, window):
                    if future.cancelled():
                        raise PrivpipeError(
                            f"study.scheduler={how.scheduler} gave models up: it has ended, or was restarted. What is "
                            "done is on disk. Start it again and run the same command again."
                        )
                    error = future.exception()
                    if isinstance(error, BrokenExecutor):
                        raise error
                    left.remove(task)
                    yield task, error if isinstance(error, Exception) else future.result()
        except BrokenExecutor as error:
            breaks += 1
            if breaks > BREAKS:
                raise PrivpipeError(
                    f"worker processes died {breaks} times, perhaps for want of memory. What is done is on disk. Set "
                    "study.workers to a smaller number and run the same command again."
                ) from error


def _as_completed(
    executor: Executor, tasks: list[Task], place: Place, window: int
) -> Iterator[tuple[Task, Future[Row]]]:
    """Submit the tasks in order, at most `window` ahead, and yield them as they end."""
    waiting = iter(list(tasks))
    running: dict[Future[Row], Task] = {}
    while True:
        for task in islice(waiting, window - len(running)):
            running[executor.submit(run, task, place)] = task
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        # Rows first: a dead worker ends the round, and what came in at the same moment must not be lost.
        for future in sorted(done, key=lambda future: future.cancelled() or future.exception() is not None):
            yield running.pop(future), future
