"""Many models on one device at once: each has a stream of its own, and they take turns, step by step.

    histories = train_together([Job(model, normalise, train_set, val_set, recipe), ...])

One model of these sizes fills a small part of a large GPU; the kernels of several streams run beside each other. The
sets may be shared. On a CPU the models take turns all the same, which gains nothing there: use worker processes with
one thread each (`privpipe.pipeline.executors`).

A model comes out as it would alone: it shares nothing with the others but what is only read. On a CPU it is the same
bit for bit. On CUDA the same kernels run on the same numbers; only a library that chose another algorithm for want of
workspace could make a difference, in the last bits.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from privpipe.nn.data import Resident, TrainingSet
from privpipe.nn.engine import Recipe
from privpipe.nn.inference import Normalisation
from privpipe.nn.training import Epoch, training


@dataclass(frozen=True)
class Job:
    """One model to train; see `privpipe.nn.training.train`."""

    model: nn.Sequential
    normalise: Normalisation
    train_set: TrainingSet
    val_set: Resident
    recipe: Recipe


def train_together(jobs: Sequence[Job], record: bool = True) -> list[list[Epoch]]:
    """Fit the models of all jobs in place, and return what their epochs came to, in the order of the jobs.

    Args:
        record: see `privpipe.nn.engine.Engine`.

    Raises:
        Diverged: the loss of one of them is no longer finite.
    """
    histories: list[list[Epoch]] = [[] for _ in jobs]
    running = [
        (training(job.model, job.normalise, job.train_set, job.val_set, job.recipe, record), history, _stream(job))
        for job, history in zip(jobs, histories, strict=True)
    ]
    while running:
        still = []
        for work, history, stream in running:
            with torch.cuda.stream(stream) if stream is not None else nullcontext():
                for epoch in work:
                    if epoch is not None:
                        history.append(epoch)
                    still.append((work, history, stream))
                    break  # one step, then the next model's turn
        running = still
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return histories


def _stream(job: Job) -> torch.cuda.Stream | None:
    """A stream that begins when all work queued so far is done; None on a CPU."""
    device = next(job.model.parameters()).device
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's stubs give it no types
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream
