"""Where and how torch computes: the device, the precision, the number of threads, and the time."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from privpipe.errors import PrivpipeError

PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_device(name: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda`.

    Raises:
        PrivpipeError: `cuda` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise PrivpipeError("train.device=cuda, but torch sees no CUDA device here. Use train.device=auto or cpu.")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The type that convolutions and matrix products of a training compute in.

    Args:
        name: `float32`; `bfloat16`; or `auto`: bfloat16 where the processor has instructions for it, which makes it
            about twice as fast there, else float32. Where it has none, `bfloat16` works and is slow.
    """
    if name not in PRECISIONS:
        raise PrivpipeError(f"train.precision must be one of {', '.join(PRECISIONS)}; got {name!r}.")
    native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _native_on_cpu()
    return torch.bfloat16 if name == "bfloat16" or (name == "auto" and native) else torch.float32


def _native_on_cpu() -> bool:
    # torch documents no public name for this in all the versions that privpipe runs on.
    return bool(torch.cpu._is_avx512_bf16_supported())


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Within the block torch uses `threads` CPU threads and deterministic algorithms only."""
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may differ from run to run
    torch.set_num_threads(threads)
    # On CUDA torch refuses max pooling, since windows that overlap add up in any order. Those of 2×2 do not overlap.
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])


class Stopwatch:
    """Wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.start
