"""Where and how torch computes: the device, the precision, the number of threads, and the time."""

import ctypes
import mmap
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
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
CUDA: Any = torch.backends.cudnn  # its `fp32_precision` is that of cuBLAS as well
ALL: Any = torch.backends

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt, see its manual page
KEPT_BYTES, MAPPED_BYTES = 1 << 28, 1 << 25  # the latter is the most that glibc takes
LARGE_PAGE = 1 << 21


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


@cache
def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, for the next tensors, in large pages where the system has them.

    A step of training frees what it allocates, tens of megabytes. By its defaults glibc gives that back to the system
    at once, which then hands it out again, cleared, in pages of 4 KiB: a fifth of the time of a step in bfloat16, and
    more of it in looking up pages. Kept are at most `KEPT_BYTES`; single blocks of more than `MAPPED_BYTES` are given
    back as before. Nothing is done where the C library is not glibc.
    """
    libc: Any = ctypes.CDLL(None) if os.name == "posix" else None
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
    libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    # The heap is extended by that much, marked, and left free: pages that nobody touches take no memory.
    libc.malloc.restype = ctypes.c_void_p
    size = MAPPED_BYTES - LARGE_PAGE
    blocks = [block for _ in range(KEPT_BYTES // MAPPED_BYTES) if (block := libc.malloc(size))]
    for block in blocks:
        start, end = -(-block // LARGE_PAGE) * LARGE_PAGE, (block + size) // LARGE_PAGE * LARGE_PAGE
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_HUGEPAGE)
    for block in blocks:
        libc.free(ctypes.c_void_p(block))


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Within the block torch uses `threads` CPU threads, deterministic algorithms only, and all 24 bits of float32."""
    keep_freed_memory()
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), FILLER.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may differ from run to run
    torch.set_num_threads(threads)
    # On CUDA torch refuses max pooling, since windows that overlap add up in any order. Those of 2×2 do not overlap.
    # The same as `use_deterministic_algorithms`, which imports torch's compiler: 1.5 s of CPU.
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    # Nothing here reads memory before it is written, and to fill all of it first takes a twentieth of a training.
    FILLER.fill_uninitialized_memory = False
    # What a library is told by itself hides what all are told, so that comes last, and only where it is needed.
    of_cuda, of_all = CUDA.fp32_precision, ALL.fp32_precision
    CUDA.fp32_precision = "ieee"
    own = [(library, precision) for library in FLOAT32_IN if (precision := library.fp32_precision) != "ieee"]
    for library, _ in own:
        library.fp32_precision = "ieee"
    try:
        yield
    finally:
        for library, precision in own:
            library.fp32_precision = "none" if precision == of_all else precision
        CUDA.fp32_precision = "none" if of_cuda == of_all else of_cuda
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        FILLER.fill_uninitialized_memory = before[2]


class Stopwatch:
    """Wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.start
