"""Where the experiments of a sweep are run: in this process, in worker processes, or on a cluster.

All of them are `concurrent.futures.Executor`s, so that the sweep knows no engine.
"""

import asyncio
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2
from tqdm import tqdm

from privpipe.errors import PrivpipeError, unknown
from privpipe.nn.device import resolve_device

T = TypeVar("T")
HERE = ("auto", "inline", "processes")
CLUSTER = ("tcp://", "tls://", "ucx://", "ws://", "wss://")
CONNECT_SECONDS = 30


class Inline(Executor):
    """Runs each call at once, in this process and thread: one GPU gains nothing from a second process."""

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:  # a future hands over whatever its call raised
            future.set_exception(error)
        return future


@contextmanager
def open_executor(scheduler: str, workers: int | None, device: str, threads: int) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many calls it should hold at a time.

    Args:
        scheduler: `inline`; `processes`; the address of a Dask scheduler, such as tcp://10.0.0.1:8786; or `auto`:
            inline on a GPU, else processes.
        workers: number of processes; None: one for each `threads` CPUs that this process may use.
        device, threads: as `train.device` and `train.threads`.

    Raises:
        PrivpipeError: there is no such scheduler or device.
    """
    if scheduler.startswith(CLUSTER):
        with _dask(scheduler) as executor:
            yield executor, 1_000_000  # the scheduler spreads the load best when it knows all of it
        return
    if scheduler not in HERE:
        raise PrivpipeError(unknown("sweep.scheduler", scheduler, [*HERE, "tcp://HOST:PORT"]))
    if scheduler == "auto":
        scheduler = "inline" if resolve_device(device).type == "cuda" else "processes"
    if scheduler == "inline":
        yield Inline(), 1
        return
    count = workers or max(1, available_cpus() // threads)
    context = multiprocessing.get_context("spawn")  # a forked torch may hang
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker)
    try:
        yield pool, count
    finally:
        # Nobody waits for an experiment that nobody wants any more: after Ctrl-C it could take a quarter of an hour.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker() -> None:
    """One thread for OpenCV, no bars, and an end as soon as the parent ends, even when it was killed."""
    cv2.setNumThreads(1)
    # Bars of several processes share none: a lock between these would be left behind where a worker is ended.
    tqdm.set_lock(threading.RLock())
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # tqdm asks: bars of many workers overwrite each other
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    from distributed import Client

    try:
        # A client that fails to start cannot be closed, and hangs when it is collected while another one starts. So
        # none is made before a scheduler answers.
        asyncio.run(_ask(address))
    except (OSError, TimeoutError, ValueError) as error:
        raise PrivpipeError(
            f"no Dask scheduler answers at sweep.scheduler={address} ({error}). Start one with `dask scheduler`, and "
            "workers with `dask worker ADDRESS --nthreads 1`."
        ) from error
    # distributed has types in part
    client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    with client:
        executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]  # distributed has types in part
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)  # as a block of its own it would wait for all of them, after Ctrl-C too


async def _ask(address: str) -> None:
    """Ask a Dask scheduler who it is; OSError, TimeoutError or ValueError where none answers."""
    from distributed import Security, rpc

    security = Security().get_connection_args("client")  # type: ignore[no-untyped-call]  # distributed has types in part
    remote = rpc(address, timeout=CONNECT_SECONDS, connection_args=security)  # type: ignore[no-untyped-call]  # likewise
    async with remote:
        if (await remote.identity())["type"] != "Scheduler":
            raise ValueError("what answers is no scheduler")
