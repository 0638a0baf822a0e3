"""A call in a process of its own, and what it cost: `in_child("benchmarks.topics.memory:perturb", {"source": ...})`.

The child is `python -m benchmarks.child MODULE:FUNCTION ARGUMENTS`, with the arguments as JSON.
"""

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MARK = "result of the child: "


@dataclass(frozen=True)
class Cost:
    """What a call in a child gave and cost.

    Args:
        value: what the function returned.
        wall, cpu: seconds of the call, without the start of Python and the imports of its module.
        peak: bytes of memory of the whole process, at most.
        start_cpu: CPU seconds before the call.
    """

    value: Any
    wall: float
    cpu: float
    peak: int
    start_cpu: float


def in_child(function: str, arguments: dict[str, Any]) -> Cost:
    """Call `MODULE:FUNCTION` with keyword arguments, in a fresh Python; RuntimeError with its output where it fails."""
    command = [sys.executable, "-m", "benchmarks.child", function, json.dumps(arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)
    found = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not found:
        raise RuntimeError(f"{function} failed:\n{done.stdout}{done.stderr}")
    return Cost(**json.loads(found[-1].removeprefix(MARK)))


def peak_memory() -> int:
    """The most memory that this process ever had resident, in bytes.

    From the kernel's own mark where it has one: `ru_maxrss` of a child begins with the peak of its parent.
    """
    with contextlib.suppress(OSError):
        match = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        if match:
            return int(match[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(function: str, arguments: str) -> None:
    module, name = function.split(":")
    call = getattr(import_module(module), name)
    start_cpu, start = time.process_time(), time.perf_counter()
    value = call(**json.loads(arguments))
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    cost = {"value": value, "wall": wall, "cpu": cpu, "peak": peak_memory(), "start_cpu": start_cpu}
    print(MARK + json.dumps(cost), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
