"""This build against an earlier one, in turns: `python -m benchmarks --only builds`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.against import Build, Seconds, checked_out, compare
from benchmarks.against_cases import MODELS, TRAINED
from benchmarks.child import ROOT
from benchmarks.loops import new_model, ours, plain_loop, ready, recipe
from benchmarks.machine import processor
from benchmarks.operators import top_operators
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread, clocked
from benchmarks.topics.sweep import in_sequence
from privpipe.nn.inference import measure as normalisation

REVISION = "3e582ee"
TITLE = f"This build and {REVISION}"
ABOUT = f"""
Public calls of both builds (`benchmarks/against_cases.py`), each build in processes of its own, new ones for each row,
in turns. Training is an epoch of {TRAINED:,} images in batches of 64 with one thread. A sweep is {MODELS} such epochs
by two processes of one thread; the plain loop beside it trains as many models in sequence, in float32 with two
threads. The attack and the score are those of the default experiment with drawn images, where the key is found and no
network need be trained. Ratios are of CPU time, which depends less on what else a machine does; those of wall-clock
time stand beside them, and alone where other processes do the work.
"""
CASES = (
    # topic of against_cases, case, rounds
    *(("training", f"{arch}, bfloat16", 15) for arch in ("baseline", "three_layer", "descrambler")),
    ("training", "baseline, float32", 9),
    ("sweep", f"{MODELS} models, precision auto", 3),
)
FASTER, WITHOUT_AMX = 1.5, 1.15  # in bfloat16, by the processor
PLAIN_WANTED, ATTACK_WANTED = 5.0, 3.0
Ratio = tuple[Spread, Spread]


def measure(setting: Setting) -> Outcome:
    targets: list[Target] = []
    rows: list[list[Cell]] = []
    with checked_out(REVISION) as tree:
        for topic, case, rounds in CASES:
            wanted = least(case, processor())
            setting.tell(f"{case}: this build and {REVISION}")
            mine, other, _ = one_case(tree, topic, case, setting.pick(rounds, 1))
            cpu, wall = ratio(mine, other)
            if topic == "sweep":  # the workers' CPU time is theirs
                bound = profile(case) if wall.median < wanted else ""
                targets.append(target(case, wall, wanted, bound, clock="wall-clock time"))
                targets.append(against_plain(setting, [wall for wall, _ in mine]))
                rows.append([case, None, None, None, wall])
                continue
            bound = profile(case) if cpu.median < wanted else ""
            targets.append(target(case, cpu, wanted, bound))
            rows.append(row(case, mine, other, cpu, wall))
        for case, mine, other in attack_cases(tree, setting):
            cpu, wall = ratio(mine, other)
            targets.append(target(case, cpu, ATTACK_WANTED, ""))
            rows.append(row(case, mine, other, cpu, wall))
    columns = ["", "this, CPU µs per item", f"{REVISION}, CPU µs per item", "ratio of CPU time", "of wall-clock time"]
    return Outcome(targets, [Table("In turns", columns, rows, "An item is an image (of a model, of the stolen ones).")])


def least(case: str, on: str) -> float:
    """The ratio that is wanted of a case.

    Args:
        on: as `benchmarks.machine.processor` names it.
    """
    if "float32" in case:
        return 1.0
    return FASTER if "amx_bf16" in on or "models" in case else WITHOUT_AMX


def one_case(tree: Path, topic: str, case: str, rounds: int, warmup: int = 1) -> tuple[Seconds, Seconds, list[float]]:
    """Seconds per item of each round, of both builds, from new processes; and the quality of both, where it has one."""
    builds: list[Build] = []
    try:
        builds += [Build(ROOT, topic), Build(tree, topic)]
        seconds = compare(builds[0], builds[1], case, rounds, warmup)
        return *seconds, [build.qualities[case] for build in builds if case in build.qualities]
    finally:
        for build in builds:
            build.close()


def attack_cases(tree: Path, setting: Setting) -> Iterator[tuple[str, Seconds, Seconds]]:
    """The attack, then the score of what it found."""
    builds: list[Build] = []
    try:
        builds += [Build(ROOT, "attack"), Build(tree, "attack")]
        for case in builds[0].cases:
            setting.tell(f"{case}: this build and {REVISION}")
            yield case, *compare(builds[0], builds[1], case, setting.pick(5, 1), warmup=1)
    finally:
        for build in builds:
            build.close()


def ratio(mine: Seconds, other: Seconds) -> Ratio:
    """How many times as fast ours is, by CPU and by wall-clock time, round by round."""
    pairs = list(zip(mine, other, strict=True))
    cpu, wall = (Spread.of([slow[clock] / fast[clock] for fast, slow in pairs]) for clock in (1, 0))
    return cpu, wall


def target(case: str, value: Spread, wanted: float, bound: str, clock: str = "CPU time") -> Target:
    return Target(f"builds-{case}", f"{case}: against {REVISION}, {clock}", "x", value, at_least=wanted, bound=bound)


def row(case: str, mine: Seconds, other: Seconds, cpu: Spread, wall: Spread) -> list[Cell]:
    microseconds = [Spread.of([1e6 * of_cpu for _, of_cpu in seconds]) for seconds in (mine, other)]
    return [case, *microseconds, cpu, wall]


def against_plain(setting: Setting, seconds: list[float]) -> Target:
    """The sweep against the plain float32 loop in sequence with two threads, by wall-clock time, right after it."""
    images, labels = torch.from_numpy(setting.images(TRAINED)), torch.from_numpy(setting.labels(TRAINED))
    floats = ready(images, normalisation(images))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        models = setting.pick(MODELS, 1)
        wall, _ = clocked(lambda: in_sequence(partial(one_plain, floats, labels), models))
    finally:
        torch.set_num_threads(before)
    ratios = [wall / (models * TRAINED) / each for each in seconds]
    what = f"{MODELS} models by two one-thread workers: against the plain float32 loop in sequence, wall-clock time"
    bound = "" if Spread.of(ratios).median >= PLAIN_WANTED else "as the sweep against the earlier build"
    return Target("builds-sweep-plain", what, "x", Spread.of(ratios), at_least=PLAIN_WANTED, bound=bound)


def one_plain(floats: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
    plain_loop(new_model("baseline", seed=seed), floats, labels)


def profile(case: str) -> str:
    """Where the time of a training goes; of a sweep, that of one of its models."""
    arch, precision = ("baseline", "auto") if "models" in case else case.split(", ")
    images, labels = torch.from_numpy(np.zeros((1024, 32, 32, 3), np.uint8)), torch.zeros(1024, dtype=torch.int64)
    images.random_(256)
    return top_operators(
        partial(ours, new_model(arch), normalisation(images), images, labels, recipe(arch, precision), 1)
    )
