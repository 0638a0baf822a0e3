"""Contenders timed side by side, as `python -m benchmarks` does it for every ratio that it states.

    timings = side_by_side({"ours": ours, "loop": loop}, repeats=5)
    faster(timings, "ours", "loop").median    # how many times as fast as the loop

The contenders take turns, A B A B ..., so that a machine that slows down for a while slows all of them. A ratio is
taken within each round; what is stated is the median over the rounds, and the range beside it.
"""

import math
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """A measured value: the median over the rounds, the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(*map(float, (median(values), min(values), max(values))))


@dataclass(frozen=True)
class Timing:
    """Seconds of each round, per item: by the clock on the wall, and of CPU (all threads, and children that ended)."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]


def cpu_seconds() -> float:
    """CPU seconds of this process so far, and of its children that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def clocked(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    call()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def side_by_side(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int = 5,
    warmup: int = 1,
    items: Mapping[str, int] | None = None,
) -> dict[str, Timing]:
    """Time the contenders in turns.

    Args:
        repeats: rounds that count, at least 1; in each, every contender is called once, in the given order.
        warmup: rounds before them that do not count.
        items: how many items a call of each contender handles, for seconds per item; 1 where not named.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(warmup + repeats):
        for name, call in contenders.items():
            wall, cpu = clocked(call)
            if turn >= warmup:
                count = (items or {}).get(name, 1)
                seconds[name].append((wall / count, cpu / count))
    return {
        name: Timing(tuple(wall for wall, _ in rounds), tuple(cpu for _, cpu in rounds))
        for name, rounds in seconds.items()
    }


def faster(timings: Mapping[str, Timing], ours: str, other: str, clock: str = "wall") -> Spread:
    """How many times as fast `ours` is as `other`, by the seconds of the same round; `clock` is `wall` or `cpu`."""
    pairs = zip(getattr(timings[other], clock), getattr(timings[ours], clock), strict=True)
    return Spread.of([slow / fast for slow, fast in pairs])


def power_law(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """The exponent e and the factor f of y = f · x**e, by least squares on the logarithms; at least two values of x."""
    log_x, log_y = [math.log(value) for value in x], [math.log(value) for value in y]
    mean_x, mean_y = sum(log_x) / len(log_x), sum(log_y) / len(log_y)
    spread = sum((value - mean_x) ** 2 for value in log_x)
    exponent = sum((a - mean_x) * (b - mean_y) for a, b in zip(log_x, log_y, strict=True)) / spread
    return exponent, math.exp(mean_y - exponent * mean_x)
