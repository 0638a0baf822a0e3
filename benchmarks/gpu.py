"""Training on a GPU against plain loops, and many models at once.

    python -m benchmarks.gpu            # a few minutes on CUDA; writes benchmarks/results/gpu-<name>.json
    python -m benchmarks.gpu --small    # the same code in small, on the CPU where there is no GPU; writes nothing

It needs torch, numpy, h5py, tqdm and a checkout, no more.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.loops import BLOCK, MODELS, loader_loop, new_model, operations, ours, plain_loop, ready, recipe
from benchmarks.machine import describe
from benchmarks.operators import on_gpu, operators
from benchmarks.results import Cell, Outcome, Result, Table, Target, save, show, summary_row
from benchmarks.timing import Spread, clocked, faster, side_by_side
from benchmarks.together import Job, train_together
from privpipe.nn.data import Resident
from privpipe.nn.device import deterministic
from privpipe.nn.inference import Normalisation
from privpipe.nn.inference import measure as normalisation

TITLE = "Training on a GPU"
ABOUT = """
Epochs in batches of 64 on random images of 32x32. *Ours* is `privpipe.nn.training.train` at `train.precision:
auto` (and float32), with the images as uint8 on the GPU. The *plain loop* is eager torch on the whole set as float32 on
the GPU; the *DataLoader* has torch's defaults and sends its batches there. Ours records its step anew for each
training, which its seconds include. Many models at once are `benchmarks.together.train_together`, in one process
on one GPU, all with the same images.
"""
AGAINST_LOADER, AGAINST_PLAIN, GRID_SECONDS = 20.0, 3.0, 60.0
EPOCHS = 5
Timed = Callable[[], None]


class Sizes:
    """How much to measure: `small` for a look without a GPU."""

    def __init__(self, small: bool):
        self.images, self.loader_images = (256, 128) if small else (50_000, 16_384)
        self.epochs, self.repeats = (1, 1) if small else (EPOCHS, 3)
        self.models, self.model_epochs = (3, 1) if small else (40, 10)
        self.few, self.few_epochs = (2, 1) if small else (8, 2)
        self.profiled = 128 if small else 12_800


class Set:
    """Random images in every form that a contender takes; on `device` but for the DataLoader's."""

    def __init__(self, count: int, device: torch.device):
        generator = torch.Generator().manual_seed(0)
        stored = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)
        answers = torch.randint(0, 10, (count,), generator=generator)
        self.planes, self.answers = stored.permute(0, 3, 1, 2).contiguous(), answers
        self.images, self.labels = stored.to(device), answers.to(device)
        self.normalise: Normalisation = normalisation(self.images)
        self.floats = ready(self.images, self.normalise)


def finished(call: Callable[[], object]) -> None:
    """A call, and what it has the GPU do."""
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure_model(arch: str, data: Set, sizes: Sizes, device: torch.device) -> tuple[list[Target], list[Cell]]:
    """One network, alone on the device: its targets and its row."""
    tell(f"train {arch}")

    def model() -> torch.nn.Sequential:
        return new_model(arch).to(device)

    count, few = sizes.epochs * len(data.images), min(sizes.loader_images, len(data.images))
    default = model().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stubs lack it
    fit = partial(ours, normalise=data.normalise, images=data.images, labels=data.labels)
    plain = partial(plain_loop, images=data.floats, labels=data.labels, epochs=sizes.epochs)
    contenders: dict[str, Timed] = {
        "ours": partial(finished, partial(fit, model(), how=recipe(arch, "auto", sizes.epochs))),
        "float32": partial(finished, partial(fit, model(), how=recipe(arch, "float32", sizes.epochs))),
        "plain": partial(finished, partial(plain, model())),
        "loader": partial(
            finished, partial(loader_loop, default, data.planes[:few], data.answers[:few], data.normalise)
        ),
    }
    items = {"ours": count, "float32": count, "plain": count, "loader": few}
    timings = side_by_side(contenders, sizes.repeats, items=items)
    loader, eager = faster(timings, "ours", "loader"), faster(timings, "ours", "plain")
    rates = {name: 1 / Spread.of(timing.wall).median for name, timing in timings.items()}
    peak = None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        contenders["ours"]()
        peak = round(torch.cuda.max_memory_allocated() / 2**20)
    bound = ""
    if loader.median < AGAINST_LOADER or eager.median < AGAINST_PLAIN:
        bound = f"{rates['ours'] * operations(arch) / 1e12:.2f} TFLOP/s; see the profile below"
    targets = [
        Target(
            f"gpu-{arch}-loader",
            f"GPU, training {arch}: against DataLoader",
            "x",
            loader,
            at_least=AGAINST_LOADER,
            bound=bound if loader.median < AGAINST_LOADER else "",
        ),
        Target(
            f"gpu-{arch}-plain",
            f"GPU, training {arch}: against a plain loop",
            "x",
            eager,
            at_least=AGAINST_PLAIN,
            bound=bound if eager.median < AGAINST_PLAIN else "",
        ),
    ]
    tflops = rates["ours"] * operations(arch) / 1e12
    row: list[Cell] = [
        arch,
        rates["ours"],
        rates["float32"],
        rates["plain"],
        rates["loader"],
        eager,
        loader,
        tflops,
        peak,
    ]
    return targets, row


def jobs(seeds: Sequence[int], data: Set, epochs: int, device: torch.device) -> list[Job]:
    """A baseline for each seed, on the same images."""
    held_out = max(1, len(data.images) // 50)
    train_set = Resident(data.images, data.labels)
    val_set = Resident(data.images[:held_out], data.labels[:held_out])
    return [
        Job(
            new_model("baseline", seed=seed).to(device),
            data.normalise,
            train_set,
            val_set,
            recipe("baseline", "auto", epochs, seed),
        )
        for seed in seeds
    ]


def together(made: list[Job]) -> None:
    with deterministic(2):
        finished(partial(train_together, made))


def one_by_one(made: list[Job]) -> None:
    for job in made:
        together([job])


def measure_together(data: Set, sizes: Sizes, device: torch.device) -> tuple[Target, Table, dict[str, float]]:
    """Many models at once: the whole grid once, and a few against one after the other."""
    what = f"GPU, {sizes.models} models (baseline), {sizes.model_epochs} epochs of {len(data.images):,} images"
    tell(f"{sizes.few} models at once and one after the other")
    few = range(sizes.few)
    contenders = {
        "together": lambda: together(jobs(few, data, sizes.few_epochs, device)),
        "sequence": lambda: one_by_one(jobs(few, data, sizes.few_epochs, device)),
    }
    timings = side_by_side(contenders, sizes.repeats, items=dict.fromkeys(contenders, sizes.few * sizes.few_epochs))
    alone, company = jobs([0], data, 1, device), jobs(few, data, 1, device)
    together(alone)
    together(company)
    pairs = zip(alone[0].model.parameters(), company[0].model.parameters(), strict=True)
    difference = max((a - b).abs().max().item() for a, b in pairs)
    tell(what)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    wall, _ = clocked(lambda: together(jobs(range(sizes.models), data, sizes.model_epochs, device)))
    peak = round(torch.cuda.max_memory_allocated() / 2**20) if device.type == "cuda" else None
    rate = sizes.models * sizes.model_epochs * len(data.images) / wall
    rows: list[list[Cell]] = [
        [f"{sizes.models} models, {sizes.model_epochs} epochs: seconds", wall],
        ["images/s of all", rate],
        ["TFLOP/s", rate * operations("baseline") / 1e12],
        ["peak memory, MiB", peak],
        [f"{sizes.few} at once against one after the other", faster(timings, "together", "sequence")],
        ["largest difference of a weight, alone and in company", f"{difference:.3g}"],
    ]
    bound = "" if wall <= GRID_SECONDS else f"{rate * operations('baseline') / 1e12:.2f} TFLOP/s; see the profile below"
    target = Target("gpu-grid", what, "s", Spread.of([wall]), at_most=GRID_SECONDS, bound=bound)
    facts = {f"gpu_images_per_second_{device_name(device)}": rate} if device.type == "cuda" else {}
    return target, Table("Many models at once", ["", "value"], rows), facts


def measure_profile(data: Set, sizes: Sizes, device: torch.device) -> Table:
    """What runs in an epoch of ours: the kernels of a GPU, and how long it has nothing to do."""
    tell("profile an epoch")
    images, labels = data.images[: sizes.profiled], data.labels[: sizes.profiled]
    call = partial(
        finished,
        partial(ours, new_model("baseline").to(device), data.normalise, images, labels, recipe("baseline", "auto")),
    )
    call()
    cuda = device.type == "cuda"
    rows = operators(call, cuda)
    total = sum(seconds for _, seconds, _ in rows) or 1.0
    shown: list[list[Cell]] = [
        [re.sub(r"[<(].*", "", name)[:60], 100 * seconds / total, 1e6 * seconds / calls, calls]
        for name, seconds, calls in rows[:10]
    ]
    note = f"idle, of the time from the first kernel to the last: {idle_fraction(call):.0f} %" if cuda else ""
    return Table(
        f"An epoch of {len(images):,} images, baseline", ["operator", "% of time", "µs a call", "calls"], shown, note
    )


def idle_fraction(call: Timed) -> float:
    """Percent of the time between the first and the last kernel in which none runs."""
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        call()
    spans = sorted((event.time_range.start, event.time_range.end) for event in found.events() or [] if on_gpu(event))
    if not spans:
        return 100.0
    busy, end = 0.0, spans[0][0]
    for start, stop in spans:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return 100 * (1 - busy / (end - spans[0][0]))


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def tell(what: str) -> None:
    print(f"{time.perf_counter() - START:6.0f} s  {what}", file=sys.stderr, flush=True)


START = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="small sizes, on the CPU where there is no GPU")
    small = parser.parse_args().small
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not small:
        parser.exit(1, "torch sees no CUDA device here. Use --small to see that the code runs.\n")
    sizes = Sizes(small)
    data = Set(sizes.images, device)
    targets, rows = [], []
    for arch in MODELS:
        found, row = measure_model(arch, data, sizes, device)
        targets += found
        rows.append(row)
    columns = [
        "model",
        "ours, images/s",
        "ours float32, images/s",
        "plain, images/s",
        "DataLoader, images/s",
        "against plain",
        "against DataLoader",
        "TFLOP/s",
        "peak memory, MiB",
    ]
    note = f"{sizes.epochs} epochs of {sizes.images:,} images; the DataLoader one of {sizes.loader_images:,}. "
    note += f"The descrambler has blocks of {BLOCK}."
    target, many, facts = measure_together(data, sizes, device)
    tables = [Table("One model", columns, rows, note), many, measure_profile(data, sizes, device)]
    outcome = Outcome([*targets, target], tables, facts=facts)
    for table in tables:
        print(f"\n{table.title}", *(" | ".join(map(show, row)) for row in [table.columns, *table.rows]), sep="\n")
    print("", *(" | ".join(summary_row(each)) for each in outcome.targets), sep="\n")
    if small:
        print(
            "\nSMALL SIZES" + ("" if device.type == "cuda" else " ON A CPU") + ": no measurement of a GPU; not written."
        )
        return
    name = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    machine = {"gpu": device_name(device), **describe()}
    save(Result(f"gpu-{name}", "python -m benchmarks.gpu", machine, {}, "random numbers", outcome))


if __name__ == "__main__":
    main()
