"""Which device a training runs on, and that what makes it deterministic is undone."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from privpipe.errors import PrivpipeError
from privpipe.nn.device import deterministic, resolve_device


def test_deterministic_sets_and_restores() -> None:
    before = torch.get_num_threads()
    assert not torch.are_deterministic_algorithms_enabled()
    for threads in (1, 3):
        with deterministic(threads):
            assert torch.get_num_threads() == threads
            assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == before
        assert not torch.are_deterministic_algorithms_enabled()


def test_deterministic_restores_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), deterministic(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("name", "there", "device"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, name: str, there: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert resolve_device(name) == torch.device(device)


def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        PrivpipeError, match=r"train\.device=cuda, but torch sees no CUDA device here\. Use .*auto or cpu"
    ):
        resolve_device("cuda")


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs the allocator of glibc"
)
def test_memory_that_a_step_frees_is_there_for_the_next() -> None:
    """Three tensors of 8 MiB a step, touched and freed, with an allocator that gives every large block back.

    Without care pages are handed out anew in each step. Of the steps it is the median: now and then a busy system takes
    idle pages back from whoever has them.
    """
    code = """
import contextlib, resource, statistics, sys, torch
from privpipe.nn.device import deterministic

def step():
    tensors = [torch.ones(1 << 21) for _ in range(3)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

torch.set_num_threads(1)
with deterministic(1) if sys.argv[1] == "care" else contextlib.nullcontext():
    for _ in range(3):
        step()
    counts = []
    for _ in range(20):
        before = faults()
        step()
        counts.append(faults() - before)
    print(statistics.median(counts))
"""
    median: dict[str, float] = {}
    for care in ("care", "none"):
        done = subprocess.run(
            [sys.executable, "-c", code, care],
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 17)},
            check=True,
            capture_output=True,
            text=True,
        )
        median[care] = float(done.stdout)
    assert median["care"] < 10 and median["none"] > 1000
