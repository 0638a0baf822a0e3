"""Memory of perturbing against the number of images: `python -m benchmarks --only memory`."""

import shutil
from pathlib import Path

from benchmarks.child import in_child
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread
from privpipe.store import RAW, SPLITS, Header, create

TITLE = "Memory"
ABOUT = """
`perturb_file` (block_scramble k=4, scope dataset) in a fresh process for each number of images: the seconds of the
call, and the peak of resident memory of the whole process, as the kernel counted it. Then the work of each stage of the
default experiment (`benchmarks/stage_memory.py`), in the same way: perturbing streams its images, the others hold them,
and beside them what does not grow with them, such as a network's work on a batch or correlations of all pixels.
"""
FREE_GIB = 10  # that a million images and their perturbed file may take, with some to spare
IMAGE_BYTES = 32 * 32 * 3
LIMIT = 1.1
STAGE_LIMIT = 1.3


def write_many(setting: Setting, path: Path, count: int) -> None:
    """`count` raw images, written piece by piece."""
    header = Header(RAW, "none", 1, "dataset", tuple("abcdefghij"), (0.0, 255.0), (32, 32, 3), "uint8")
    step = min(count, setting.pick(4000, 500))
    images, labels = setting.images(step), setting.labels(step)
    with create(path, header, dict.fromkeys(SPLITS, 0) | {"train": count}) as writer:
        for start in range(0, count, step):
            here = min(step, count - start)
            writer.write("train", start, images[:here], labels[:here])


def measure(setting: Setting) -> Outcome:
    counts = setting.pick((10_000, 100_000, 1_000_000), (1000, 5000, 20_000))
    rows: list[list[Cell]] = []
    peaks: dict[int, int] = {}
    what = f"peak memory of perturbing {counts[2]:,} images against {counts[1]:,}"
    free = shutil.disk_usage(setting.scratch).free
    for count in counts:
        if free < (FREE_GIB << 30) and count * IMAGE_BYTES > 1 << 30:
            reason = f"{free / 2**30:.0f} GiB are free, {FREE_GIB} needed"
            return Outcome([Target("memory-growth", what, "x", None, at_most=LIMIT, reason=reason)], _table(rows))
        setting.tell(f"perturb a file of {count:,} images, for its memory")
        folder = setting.folder("memory")
        write_many(setting, folder / "raw.h5", count)
        how = {"method": "block_scramble", "k": 4, "scope": "dataset"}
        paths = {"source": str(folder / "raw.h5"), "target": str(folder / "out.h5")}
        cost = in_child("benchmarks.topics.perturbation:perturb_once", {**paths, "how": how})
        peaks[count] = cost.peak
        rate = count * IMAGE_BYTES / cost.wall / 1e6
        rows.append([count, cost.wall, cost.cpu, rate, round(cost.peak / 2**20)])
        shutil.rmtree(folder)
    ratio = peaks[counts[2]] / peaks[counts[1]]
    target = Target("memory-growth", what, "x", Spread.of([ratio]), at_most=LIMIT)
    targets, table = measure_stages(setting)
    return Outcome([target, *targets], [*_table(rows), table])


def measure_stages(setting: Setting) -> tuple[list[Target], Table]:
    """The peak of each stage of the default experiment against the images that it holds, and how it grows with them."""
    counts = setting.pick((15_000, 60_000), (1200, 2400))
    base = in_child("benchmarks.stage_memory:nothing", dict.fromkeys(("raw", "perturbed", "model"), "")).peak
    extra: dict[int, dict[str, int]] = {count: {} for count in counts}
    size: dict[int, dict[str, int]] = {count: {} for count in counts}
    rows: list[list[Cell]] = []
    for count in counts:
        folder = setting.folder("stages")
        raw = setting.raw_file(folder / "raw.h5", count)
        arguments = {"raw": str(raw), "perturbed": str(folder / "perturbed.h5"), "model": str(folder / "model")}
        train, val, test = count * 49 // 60, count // 60, count // 6
        held = {"perturb": 0, "train": train + val, "evaluate": max(val, test), "attack": train + val + 2000}
        for stage, images in held.items():
            setting.tell(f"memory of the stage {stage} on {count:,} images")
            peak = in_child(f"benchmarks.stage_memory:{stage}", arguments).peak
            extra[count][stage], size[count][stage] = peak - base, images * IMAGE_BYTES
            cells = (round(value / 2**20) for value in (peak, peak - base, images * IMAGE_BYTES))
            rows.append([count, stage, *cells, (peak - base) / (images * IMAGE_BYTES) if images else None])
    few, many = counts
    targets: list[Target] = []
    for stage in (stage for stage, held_bytes in size[many].items() if held_bytes):
        ratio = extra[many][stage] / size[many][stage]
        growth = (extra[many][stage] - extra[few][stage]) / (size[many][stage] - size[few][stage])
        fixed = (extra[many][stage] - max(growth, 0) * size[many][stage]) / 2**20
        what = f"peak memory of {stage} on {many:,} images, beyond that of Python with its imports: of its images"
        bound = "" if ratio <= STAGE_LIMIT else f"{fixed:.0f} MiB of it do not grow with the number of images"
        targets.append(Target(f"memory-{stage}", what, "x", Spread.of([ratio]), at_most=STAGE_LIMIT, bound=bound))
        what = f"peak memory of {stage}, for each byte of images more, from {few:,} to {many:,}"
        bound = "" if growth <= STAGE_LIMIT else "one run of each number; what an allocator keeps differs between runs"
        growing = Target(f"memory-{stage}-growth", what, "x", Spread.of([growth]), at_most=STAGE_LIMIT, bound=bound)
        targets.append(growing)
    columns = ["images", "stage", "peak, MiB", "beyond imports, MiB", "images held, MiB", "ratio"]
    note = f"One run each. Python with all that is imported has {base / 2**20:.0f} MiB."
    return targets, Table("Stages of the default experiment, images of 32x32", columns, rows, note)


def _table(rows: list[list[Cell]]) -> list[Table]:
    columns = ["images", "wall clock, s", "CPU, s", "raw MB/s", "peak memory, MiB"]
    return [Table("perturb_file, block_scramble k=4", columns, rows, "One run each.")]
