"""Where a training's time goes, operator by operator: `top_operators(call)`. Needs torch alone."""

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile


def operators(call: Callable[[], Any], cuda: bool = False) -> list[tuple[str, float, int]]:
    """Name, own seconds and number of calls of what ran: operators of the CPU, or with `cuda` the kernels of the GPU.

    The largest first.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as found:
        call()
    rows = []
    for event in found.key_averages():
        micros = event.self_device_time_total if cuda else event.self_cpu_time_total
        if micros > 0 and on_gpu(event) == cuda:
            rows.append((event.key, micros / 1e6, event.count))
    return sorted(rows, key=lambda row: -row[1])


def on_gpu(event: Any) -> bool:
    """Whether an event of the profiler is work of a GPU, and no mark that lies over such work."""
    return "cuda" in str(event.device_type).lower() and not getattr(event, "is_user_annotation", False)


def top_operators(call: Callable[[], Any], most: int = 4) -> str:
    """The largest fractions of a call's time on the CPU, as words."""
    rows = operators(call)
    total = sum(seconds for _, seconds, _ in rows) or 1.0
    parts = [f"{100 * seconds / total:.0f} % in {name.removeprefix('aten::')}" for name, seconds, _ in rows[:most]]
    return "by torch's profiler, of its CPU time " + ", ".join(parts)
