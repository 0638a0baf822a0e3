"""Where models are trained: executors of one kind, that end when nobody waits for them any more."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import cv2
import psutil
import pytest
import torch
from distributed import Client
from small_sweep import SECONDS

from privpipe.errors import PrivpipeError, extras_named
from privpipe.pipeline import executors
from privpipe.pipeline.executors import Inline, available_cpus, open_executor

# A call that leaves a file and then takes as long as a long model.
BUSY = "import os, time; open(f'{FOLDER}/{os.getpid()}', 'x').close(); time.sleep(600)"
# A study in small.
PARENT = """
import sys
from privpipe.pipeline.executors import open_executor

with open_executor("processes", 2, "cpu", 1) as (executor, _):
    futures = [executor.submit(exec, sys.argv[1], {"FOLDER": sys.argv[2]}) for _ in range(2)]
    futures[0].result()
"""


def kind(scheduler: str, workers: int | None = None, device: str = "cpu", threads: int = 1) -> tuple[type, int]:
    """What is opened, and how many calls it should hold; nothing is run."""
    with open_executor(scheduler, workers, device, threads) as (executor, window):
        return type(executor), window


def busy_workers(folder: Path, count: int) -> list[psutil.Process]:
    """The processes that run `BUSY`, once they are so many."""
    end = time.monotonic() + SECONDS
    while len(pids := [int(path.name) for path in folder.iterdir()]) < count:
        assert time.monotonic() < end, "the workers did not start"
        time.sleep(0.01)
    return [psutil.Process(pid) for pid in pids]


def expect_end(processes: list[psutil.Process]) -> None:
    assert processes
    _, alive = psutil.wait_procs(processes, SECONDS)
    for process in alive:
        process.kill()
    assert not alive


def test_inline_runs_in_this_process() -> None:
    with open_executor("inline", None, "cpu", 1) as (executor, window):
        future = executor.submit(os.getpid)
        assert future.done()
        assert (future.result(), window) == (os.getpid(), 1)


def test_inline_passes_arguments_and_errors_on() -> None:
    assert Inline().submit(int, "11", base=2).result() == 3
    failed = Inline().submit(int, "many")
    assert isinstance(failed.exception(), ValueError)
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result()


def test_ctrl_c_stops_an_inline_model() -> None:
    with pytest.raises(KeyboardInterrupt), open_executor("inline", None, "cpu", 1) as (executor, _):
        executor.submit(signal.default_int_handler, signal.SIGINT, None)


def test_as_many_processes_as_asked_for_or_as_there_are_cpus_for() -> None:
    cpus = len(os.sched_getaffinity(0))
    assert available_cpus() == cpus
    assert kind("processes", 3) == (ProcessPoolExecutor, 3)
    assert kind("processes", 3, threads=100) == (ProcessPoolExecutor, 3)
    assert kind("processes", None) == (ProcessPoolExecutor, cpus)
    assert kind("processes", None, threads=cpus) == (ProcessPoolExecutor, 1)
    assert kind("processes", None, threads=cpus + 1) == (ProcessPoolExecutor, 1)


def test_auto_is_inline_on_a_gpu_and_processes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind("auto", 2, "cpu") == (ProcessPoolExecutor, 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert kind("auto", 2, "cuda") == kind("auto", 2, "auto") == (Inline, 1)
    assert kind("auto", 2, "cpu") == (ProcessPoolExecutor, 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert kind("auto", 2, "auto") == (ProcessPoolExecutor, 2)
    with pytest.raises(PrivpipeError, match=r"train.device=cuda, but torch sees no CUDA device here"):
        kind("auto", 2, "cuda")


def test_workers_are_other_processes_with_one_opencv_thread_that_end_with_the_block() -> None:
    """And no other child of this process ends with them."""
    bystander = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    bystander.start()
    try:
        with open_executor("processes", 1, "cpu", 1) as (executor, _):
            pid = executor.submit(os.getpid).result()
            assert executor.submit(cv2.getNumThreads).result() == 1
            worker = psutil.Process(pid)
            assert worker.ppid() == os.getpid()
        expect_end([worker])
        assert bystander.is_alive()
    finally:
        bystander.kill()
        bystander.join()


def test_an_error_in_the_block_ends_busy_workers_at_once(tmp_path: Path) -> None:
    workers = []
    with pytest.raises(RuntimeError, match="stop"), open_executor("processes", 2, "cpu", 1) as (executor, _):
        for _ in range(5):
            executor.submit(exec, BUSY, {"FOLDER": tmp_path})
        workers = busy_workers(tmp_path, 2)
        raise RuntimeError("stop")
    expect_end(workers)
    assert len(list(tmp_path.iterdir())) == 2  # none of the other calls was begun


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_busy_workers_end_when_their_parent_is_killed_or_interrupted(how: signal.Signals, tmp_path: Path) -> None:
    # Children inherit an ignored Ctrl-C, as of a test run in the background of a shell, but not a handled one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-c", PARENT, BUSY, str(tmp_path)]
    children = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as parent:
        try:
            workers = busy_workers(tmp_path, 2)
            children = psutil.Process(parent.pid).children(recursive=True)
            assert set(workers) <= set(children)
            parent.send_signal(how)
            expect_end(children)
            _, said = parent.communicate(timeout=SECONDS)
            assert parent.returncode != 0
            assert ("KeyboardInterrupt" in said) == (how == signal.SIGINT)
        finally:
            for process in (parent, *children):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def test_an_unknown_scheduler_is_refused() -> None:
    with pytest.raises(PrivpipeError) as caught:
        kind("proceses")
    assert str(caught.value) == (
        "sweep.scheduler must be one of auto, inline, processes, tcp://HOST:PORT; got 'proceses'. "
        "Did you mean processes?"
    )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://no-such-host.invalid:8786", "tcp://", "tcp://host:x"])
def test_a_dask_scheduler_that_does_not_answer_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.3)
    before = set(Client._instances)
    with pytest.raises(PrivpipeError) as caught:
        kind(address)
    assert set(Client._instances) == before  # a client that failed to start may hang when it is collected
    message = str(caught.value)
    assert message.startswith(f"no Dask scheduler answers at sweep.scheduler={address} (")
    assert message.endswith("). Start one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`.")


def test_a_scheduler_without_dask_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PrivpipeError) as caught, extras_named():
        kind("tcp://127.0.0.1:8786")
    assert str(caught.value).endswith("Run `pip install 'privpipe[dask]'`.")


def test_dask_is_not_needed_elsewhere() -> None:
    """It is an extra that a plain installation lacks."""
    program = "import sys; sys.modules['distributed'] = sys.modules['dask'] = None; import studies.paper.group"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=SECONDS, cwd=Path(__file__).parents[2])


def test_workers_that_drew_bars_end_without_a_word() -> None:
    bar = "from tqdm import tqdm; list(tqdm(range(2), disable=None))"
    ended = subprocess.run([sys.executable, "-c", PARENT, bar, ""], capture_output=True, text=True, timeout=SECONDS)
    assert (ended.returncode, ended.stderr) == (0, "")
