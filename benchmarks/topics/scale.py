"""What far larger sets and grids would take, computed from what was measured: `python -m benchmarks --only scale`."""

from benchmarks.loops import operations
from benchmarks.results import Cell, Outcome, Table
from benchmarks.setting import Setting

TITLE = "Larger, on paper"
ABOUT = """
Nothing here was run. The rates are those above; the formulas:

- perturbing: images · seconds per image of 224x224 / machines;
- bytes: images · 224 · 224 · 3, times two as float16; writing: bytes / the measured rate of `privpipe.store`;
- training: images · operations per image at 224x224 / operations per second, the latter as measured at 32x32
  (images per second · operations per image): larger images fill the processor no worse;
- a grid: models · epochs · images / images per second of all workers / machines.

What carries it: a grid goes over machines with `sweep.scheduler: tcp://...`, a Dask scheduler whose workers train one
model each at a time; no model waits for another, so N machines take an Nth of the time as long as there are many more
models than workers. Sets that do not fit into memory are streamed from the disk in training (`train.memory_mb`) and in
perturbing. *Not built*: training one model on several machines or GPUs (torchrun), and perturbing one file on several
machines; the key material of an image follows from its pixels, so parts of a file could be made anywhere once equal
images are counted across them, but no command does it.
"""
IMAGES, SIZE = 1_280_000, 224
GRID, EPOCHS, GRID_IMAGES = 10_000, 10, 49_000
MACHINES = (1, 10, 100)
METHODS = {
    "blur-k7": ("gaussian_blur k=7", 1),
    "scramble-k4": ("block_scramble k=4, scope dataset", 1),
    "filter-image": ("random_filter k=5, scope image", 2),
    "noise-image": ("gaussian_noise, scope image", 2),
}


def measure(setting: Setting) -> Outcome:
    setting.tell("what larger sets would take, on paper")
    return computed(setting.facts)


def computed(facts: dict[str, float]) -> Outcome:
    """The tables, as far as `facts` has the rates."""
    return Outcome(tables=[perturbing(facts), training(facts), grid(facts)])


def perturbing(facts: dict[str, float]) -> Table:
    values = IMAGES * SIZE * SIZE * 3
    rows: list[list[Cell]] = []
    for name, (method, value_bytes) in METHODS.items():
        seconds = facts.get(f"perturb_seconds_{SIZE}_{name}")
        rate = facts.get(f"write_mb_per_second_{'uint8' if value_bytes == 1 else 'float16'}")
        times = [None if seconds is None else IMAGES * seconds / machines / 60 for machines in MACHINES]
        writing = None if rate is None else values * value_bytes / rate / 1e6 / 60
        rows.append([method, values * value_bytes / 1e9, *times, writing])
    columns = ["method", "GB", *(f"minutes on {_machines(n)}" for n in MACHINES), "minutes to write, one machine"]
    return Table(f"Perturbing {IMAGES:,} images of {SIZE}x{SIZE}", columns, rows)


def training(facts: dict[str, float]) -> Table:
    rows: list[list[Cell]] = []
    for arch in ("baseline", "modern_baseline"):
        rate = facts.get(f"train_images_per_second_{arch}")
        large, small = operations(arch, SIZE), operations(arch)
        speed = None if rate is None else rate * small / 1e9
        hours = None if speed is None else IMAGES * large / speed / 1e9 / 3600
        read = None if hours is None else IMAGES * SIZE * SIZE * 3 / hours / 3600 / 1e6
        rows.append([arch, large / 1e9, speed, hours, read])
    columns = ["model", "GFLOP per image", "GFLOP/s", "hours an epoch, one machine", "MB/s to read meanwhile"]
    note = "More machines do not shorten the epoch of one model: that is not built."
    return Table(f"Training on {IMAGES:,} images of {SIZE}x{SIZE}", columns, rows, note)


def grid(facts: dict[str, float]) -> Table:
    rows: list[list[Cell]] = []
    rates = {"two workers of one thread on the machine above": facts.get("sweep_images_per_second")}
    prefix = "gpu_images_per_second_"
    rates |= {f"many at once on {n.removeprefix(prefix)}": v for n, v in facts.items() if n.startswith(prefix)}
    for name, rate in rates.items():
        days = None if rate is None else GRID * EPOCHS * GRID_IMAGES / rate / 86_400
        rows.append([name, rate, *(None if days is None else days / machines for machines in MACHINES)])
    columns = ["engine", "images/s", *(f"days on {_machines(n)}" for n in MACHINES)]
    note = f"baseline, {EPOCHS} epochs of {GRID_IMAGES:,} images of 32x32 each."
    return Table(f"A grid of {GRID:,} models", columns, rows, note)


def _machines(count: int) -> str:
    return f"{count:,} machine{'s' if count > 1 else ''}"
