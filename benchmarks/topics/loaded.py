"""Training beside other programs that want the processor: `python -m benchmarks --only loaded`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.child import in_child
from benchmarks.loops import BATCH, CLASSES, new_model, recipe
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread
from privpipe.nn.device import deterministic
from privpipe.nn.engine import Engine
from privpipe.nn.inference import measure as normalisation

TITLE = "Training on a loaded machine"
ABOUT = """
Steps of the baseline in float32 on batches of 64, in a fresh process for each way and round, which take turns; beside
them run processes that do nothing but count. A fair share is what the scheduler owes the threads of a training: of
two processors and four threads that want them, half. *Asleep* is `OMP_WAIT_POLICY=passive`, which a stage sets where
others are at work when it starts: its threads wait for one another asleep, not by spinning. The results are the same.
"""
COMPANY = (0, 2)
# What it is called, the threads, and how they wait.
WAYS = (("two threads, spinning", 2, "active"), ("two threads, asleep", 2, "passive"), ("one thread", 1, "active"))
WANTED = 1.0


def steps(threads: int, seconds: float) -> float:
    """Images/s of steps over so many seconds."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    rows, count = torch.arange(BATCH), 0
    with deterministic(threads):
        engine = Engine(new_model("baseline"), normalisation(images), recipe("baseline", "float32"))
        for _ in range(3):
            engine.step(images, labels, rows, 0.001)
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            engine.step(images, labels, rows, 0.001)
            count += BATCH
        return count / (time.perf_counter() - start)


@contextmanager
def company(count: int) -> Iterator[None]:
    """Processes that keep a processor busy each."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@contextmanager
def waiting(policy: str) -> Iterator[None]:
    """Children wait so."""
    before = os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = policy
    try:
        yield
    finally:
        del os.environ["OMP_WAIT_POLICY"]
        if before is not None:
            os.environ["OMP_WAIT_POLICY"] = before


def measure(setting: Setting) -> Outcome:
    processors = os.cpu_count() or 1
    rates: dict[tuple[int, str], list[float]] = {(count, name): [] for count in COMPANY for name, _, _ in WAYS}
    for turn in range(setting.pick(4, 1)):
        for count in COMPANY:
            setting.tell(f"train beside {count} busy processes, round {turn + 1}")
            for name, threads, policy in WAYS:
                with company(count), waiting(policy):
                    cost = in_child(f"{__name__}:steps", {"threads": threads, "seconds": setting.pick(10.0, 0.5)})
                rates[count, name].append(cost.value)
    alone, beside = COMPANY
    rows: list[list[Cell]] = []
    fair: dict[str, Spread] = {}
    for name, threads, _ in WAYS:
        share = min(1.0, processors / (threads + beside))  # of what it has alone
        pairs = zip(rates[beside, name], rates[alone, name], strict=True)
        fair[name] = Spread.of([with_them / without / share for with_them, without in pairs])
        rows.append([name, Spread.of(rates[alone, name]), Spread.of(rates[beside, name]), share, fair[name]])
    name = WAYS[1][0]
    gain = [a / b for a, b in zip(rates[beside, name], rates[beside, WAYS[0][0]], strict=True)]
    bound = "" if fair[name].median >= WANTED else f"asleep is {Spread.of(gain).median:.2f} times as fast as spinning"
    what = f"training beside {beside} busy processes ({name}): of its fair share"
    target = Target("loaded", what, "x", fair[name], at_least=WANTED, bound=bound)
    columns = ["", "alone, images/s", f"beside {beside}, images/s", "fair share of alone", "had of it"]
    note = f"{processors} processors."
    return Outcome([target], [Table("Baseline, float32", columns, rows, note)])
