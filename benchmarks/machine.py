"""What the benchmarks ran on, without names.

python -c 'from benchmarks.machine import describe; print(describe())'
"""

import os
import platform
import re
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "numpy", "opencv-python-headless", "h5py", "dvc", "albumentations", "kornia", "imagecorruptions")
SGEMM_SIZE = 2048


def describe() -> dict[str, str | int | float]:
    """Processor, cores, memory, kernel family and versions; no host name, no path, no date."""
    facts: dict[str, str | int | float] = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts | libraries()


def processor() -> str:
    """The processor's own name, with what it has of vector arithmetic that decides the rates here."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = set((re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE) or ["", ""])[1].split())
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "sha_ni") if flag in flags]
    return f"{name[1] if name else platform.machine()} ({', '.join(wide) or 'no vector extensions known'})"


def libraries() -> dict[str, str]:
    """The libraries behind the matrix products of NumPy and torch."""
    found = {}
    try:
        import numpy as np

        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        found["numpy_blas"] = f"{blas['name']} {blas['version']}".strip()
    except (ImportError, KeyError, TypeError):  # older than 1.26, or built in another way
        pass
    try:
        import torch

        shown = torch.__config__.show()
        names = (r"oneAPI Math Kernel Library Version ([\d.]+)", "MKL"), (r"MKL-DNN v([\d.]+)", "oneDNN")
        parts = [f"{name} {match[1]}" for pattern, name in names if (match := re.search(pattern, shown))]
        found["torch_blas"] = ", ".join(parts)
    except ImportError:
        pass
    return found


def sgemm(repeats: int = 10, size: int = SGEMM_SIZE) -> dict[str, float]:
    """GFLOP/s of float32 products of two `size`×`size` matrices with torch, by CPU threads; the best of `repeats`."""
    import torch

    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(size, size, generator=generator), torch.randn(size, size, generator=generator)
    out, rates, before = torch.empty(size, size), {}, torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            torch.mm(a, b, out=out)
            seconds.append(time.perf_counter() - start)
        rates[str(threads)] = 2 * size**3 / min(seconds) / 1e9
    torch.set_num_threads(before)
    return rates
