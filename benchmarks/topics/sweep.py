"""Several models at once in worker processes, a part of the topic `training`."""

import time
from concurrent.futures import Executor, wait
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.loops import new_model, operations, ours, plain_loop, ready, recipe
from benchmarks.operators import top_operators
from benchmarks.results import Cell, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread, faster, side_by_side
from privpipe.nn.inference import measure as normalisation
from privpipe.pipeline.executors import open_executor

ARCH = "baseline"
WANTED = 1.2
MODELS = 4
WORKERS = 2


@cache
def _set(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels, once in each process."""
    images = torch.from_numpy(np.load(path))
    return images, torch.from_numpy(np.random.default_rng(1).integers(0, 10, len(images)))


def train_one(path: str, seed: int, precision: str, threads: int, arch: str = ARCH) -> None:
    """What a worker does for one model, from its normalisation to its last step."""
    images, labels = _set(path)
    ours(new_model(arch, seed=seed), normalisation(images), images, labels, recipe(arch, precision, seed=seed), threads)


def plain_one(path: str, seed: int, arch: str = ARCH) -> None:
    """The same by the plain float32 loop, in this process."""
    images, labels = _set(path)
    plain_loop(new_model(arch, seed=seed), ready(images, normalisation(images)), labels)


def start(pool: Executor, path: str) -> float:
    """Seconds until every worker has imported what it needs and has seen the images."""
    began = time.perf_counter()
    wait([pool.submit(_wake, path) for _ in range(WORKERS)])
    return time.perf_counter() - began


def _wake(path: str) -> None:
    _set(path)
    time.sleep(0.5)  # so that the other worker takes the other call


def all_at_once(pool: Executor, path: str, models: int, precision: str, arch: str = ARCH) -> None:
    """Train `models` models in the workers."""
    futures = [pool.submit(train_one, path, seed, precision, 1, arch) for seed in range(models)]
    for future in futures:
        future.result()


def in_sequence(call: partial[None], models: int) -> None:
    for seed in range(models):
        call(seed=seed)


def write_set(setting: Setting, count: int) -> str:
    """Images as a file that workers read."""
    path: Path = setting.folder("sweep") / "images.npy"
    np.save(path, setting.images(count))
    return str(path)


def measure_sweep(setting: Setting) -> tuple[Target, Table, float]:
    """Four models by two workers of one thread, against one after the other with two; images/s of the former."""
    count = setting.pick(4096, 256)
    path = write_set(setting, count)
    setting.tell(f"{MODELS} models at once, {count:,} images an epoch")
    with open_executor("processes", WORKERS, "cpu", 1) as (pool, _):
        start_up = start(pool, path)
        contenders = {
            "workers": partial(all_at_once, pool, path, MODELS, "auto"),
            "workers float32": partial(all_at_once, pool, path, MODELS, "float32"),
            "plain": partial(in_sequence, partial(plain_one, path), MODELS),
            "ours": partial(in_sequence, partial(train_one, path, precision="auto", threads=2), MODELS),
        }
        timings = side_by_side(contenders, setting.pick(3, 1), items=dict.fromkeys(contenders, MODELS * count))
        pool.shutdown()
    value = faster(timings, "workers", "plain")
    names = {
        "workers": "two workers of one thread, precision auto",
        "workers float32": "two workers of one thread, float32",
        "plain": "plain float32 loop, one after the other, two threads",
        "ours": "ours, one after the other, two threads, precision auto",
    }
    rows: list[list[Cell]] = []
    for name, what in names.items():
        rates = sorted(1 / seconds for seconds in timings[name].wall)
        ratio = None if name == "workers" else faster(timings, "workers", name)
        rows.append([what, rates[len(rates) // 2], ratio])
    rate = 1 / Spread.of(timings["workers"].wall).median
    bound = ""
    if value.median < WANTED:
        share = 100 * rate * operations(ARCH) / 1e9 / setting.sgemm[str(WORKERS)]
        profile = top_operators(partial(train_one, path, 0, "auto", 1))
        bound = f"{share:.0f} % of the sgemm rate of both cores; {profile}"
    what = f"{MODELS} models by two one-thread workers: against the plain float32 loop in sequence"
    target = Target("sweep", what, "x", value, at_least=WANTED, bound=bound)
    note = f"The workers' start, apart from this, took {start_up:.1f} s. {count:,} images an epoch, one epoch each."
    columns = ["", "images/s of all models", "workers (auto) against it"]
    return target, Table(f"{MODELS} models ({ARCH})", columns, rows, note), rate
