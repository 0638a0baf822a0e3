"""Training on the CPU against plain loops, alone and four models at once: `python -m benchmarks --only training`."""

from functools import partial

import torch

from benchmarks.loops import MODELS, loader_loop, new_model, operations, ours, plain_loop, ready, recipe
from benchmarks.operators import top_operators
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread, faster, side_by_side
from benchmarks.topics.sweep import measure_sweep
from privpipe.nn.device import resolve_precision
from privpipe.nn.inference import measure as normalisation

TITLE = "Training on the CPU"
ABOUT = """
One epoch in batches of 64 with two threads. *Ours* is `privpipe.nn.training.train`, as the train stage calls it, at
`train.precision: auto` (bfloat16 where the processor is faster with it, see the target's name) and `float32`; it starts
from uint8, adds the penalty on the weights, asks for deterministic algorithms and evaluates a validation set of a
fiftieth of the images. The *plain loop* has the whole set normalised as float32, channels last, before the clock
starts, and runs Adam with its defaults; the same loop under bfloat16 autocast is beside it. The *DataLoader* has
torch's defaults: no workers, batches put together image by image. All of them are in `benchmarks/loops.py`. Their
work is counted in multiply-adds of convolutions and matrix products, forward and backward (two operations each), and
compared with the rate of torch's float32 product of 2,048 x 2,048 with two threads, in the same run; with bfloat16
instructions it may go beyond 100 %.

Four models at once are the study's way: worker processes of one thread each (`privpipe.pipeline.executors`), which are
up before the clock starts; their start is stated apart.
"""
WANTED = 1.15
THREADS = 2
COUNTS = {"baseline": 4096, "three_layer": 8192, "descrambler": 4096, "modern_baseline": 256}


def measure(setting: Setting) -> Outcome:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        targets, rows, facts = [], [], {}
        for arch in MODELS:
            target, cells, rate = measure_model(setting, arch)
            targets.append(target)
            rows.append(cells)
            facts[f"train_images_per_second_{arch}"] = rate
        sweep_target, sweep_table, facts["sweep_images_per_second"] = measure_sweep(setting)
    finally:
        torch.set_num_threads(before)
    columns = [
        "model",
        "images",
        "ours, images/s",
        "of sgemm, %",
        "against plain",
        "ours float32 against plain",
        "against bfloat16 plain",
        "against DataLoader",
        "plain, images/s",
        "of sgemm, % (plain)",
    ]
    return Outcome([*targets, sweep_target], [Table("One model", columns, rows), sweep_table], facts=facts)


def measure_model(setting: Setting, arch: str) -> tuple[Target, list[Cell], float]:
    """One network: the target, its row, and images/s of ours."""
    count = setting.pick(COUNTS[arch], 128)
    images, labels = torch.from_numpy(setting.images(count)), torch.from_numpy(setting.labels(count))
    normalise = normalisation(images)
    floats, planes = ready(images, normalise), images.permute(0, 3, 1, 2).contiguous()
    # torch's stubs lack memory_format
    default = new_model(arch).to(memory_format=torch.contiguous_format)
    auto, single = recipe(arch, "auto"), recipe(arch, "float32")
    contenders = {
        "ours": partial(ours, new_model(arch), normalise, images, labels, auto),
        "ours float32": partial(ours, new_model(arch), normalise, images, labels, single),
        "plain": partial(plain_loop, new_model(arch), floats, labels),
        "plain bfloat16": partial(plain_loop, new_model(arch), floats, labels, torch.bfloat16),
        "DataLoader": partial(loader_loop, default, planes, labels, normalise),
    }
    setting.tell(f"train {arch}, {count:,} images an epoch, {len(contenders)} ways")
    timings = side_by_side(contenders, setting.pick(4, 1), warmup=1, items=dict.fromkeys(contenders, count))
    value = faster(timings, "ours", "plain")
    rates = {name: 1 / Spread.of(timing.wall).median for name, timing in timings.items()}
    shares = {name: 100 * rate * operations(arch) / 1e9 / setting.sgemm[str(THREADS)] for name, rate in rates.items()}
    bound = ""
    if value.median < WANTED:
        bound = f"{shares['ours']:.0f} % of the sgemm rate; {top_operators(contenders['ours'])}"
    precision = str(resolve_precision("auto", torch.device("cpu"))).removeprefix("torch.")
    what = f"training {arch} ({precision}): against a plain float32 loop"
    row: list[Cell] = [arch, count, rates["ours"], shares["ours"], value, faster(timings, "ours float32", "plain")]
    row += [faster(timings, "ours", "plain bfloat16"), faster(timings, "ours", "DataLoader")]
    row += [rates["plain"], shares["plain"]]
    return Target(f"train-{arch}", what, "x", value, at_least=WANTED, bound=bound), row, rates["ours"]
