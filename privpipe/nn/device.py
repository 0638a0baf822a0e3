"""Where and how torch computes: the device, the precision, the number of threads, and the time."""

import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.utils.deterministic

from privpipe.errors import PrivpipeError

FILLER: Any = torch.utils.deterministic  # torch makes its attribute at run time, unseen by type checkers
PRECISIONS = ("auto", "float32", "bfloat16")
# Libraries that may compute float32 with fewer bits: by default cuDNN's convolutions do, in TF32 with 10 bits.
FLOAT32_IN: tuple[Any, ...] = (
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]  # torch's stubs lack it
    torch.backends.cuda.matmul,
    torch.backends.mkldnn.conv,  # type: ignore[attr-defined]  # likewise
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]  # likewise
)


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
        name: `float32`; `bfloat16`, which works everywhere and is slow in places; or `auto`: bfloat16 on a GPU that has
            it and on a CPU where it is faster, else float32.
    """
    if name not in PRECISIONS:
        raise PrivpipeError(f"train.precision must be one of {', '.join(PRECISIONS)}; got {name!r}.")
    faster = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _faster_on_cpu()
    return torch.bfloat16 if name == "bfloat16" or (name == "auto" and faster) else torch.float32


def _faster_on_cpu() -> bool:
    """Whether convolutions in bfloat16 are faster here than in float32: with AMX, or with AVX512-BF16 by AMD.

    The latter made training about twice as fast on an EPYC, and took 1.6 times as long on a Xeon without AMX.
    """
    # torch documents no public names for these.
    if torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and "AuthenticAMD" in _processors()


def processor_name(device: torch.device) -> str:
    """What the maker calls the GPU, or the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = re.search(r"^model name\s*:\s*(.+)$", _processors(), re.MULTILINE)
    return name[1] if name else platform.processor() or platform.machine()


def _processors() -> str:
    """A description of the processors with the names of their makers, as CPUID gives it."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:  # no Linux
        return platform.processor()


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Within the block torch uses `threads` CPU threads, deterministic algorithms only, and all 24 bits of float32."""
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), FILLER.fill_uninitialized_memory
    precisions = [library.fp32_precision for library in FLOAT32_IN]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may differ from run to run
    torch.set_num_threads(threads)
    # On CUDA torch refuses max pooling, since windows that overlap add up in any order. Those of 2×2 do not overlap.
    # The same as `use_deterministic_algorithms`, which imports torch's compiler: 1.5 s of CPU.
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    # Nothing here reads memory before it is written, and to fill all of it first takes a twentieth of a training.
    FILLER.fill_uninitialized_memory = False
    for library in FLOAT32_IN:
        library.fp32_precision = "ieee"
    try:
        yield
    finally:
        for library, precision in zip(FLOAT32_IN, precisions, strict=True):
            library.fp32_precision = precision
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        FILLER.fill_uninitialized_memory = before[2]


class Stopwatch:
    """Wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.start
