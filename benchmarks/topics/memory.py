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
call, and the peak of resident memory of the whole process, as the kernel counted it.
"""
FREE_GIB = 10  # that a million images and their perturbed file may take, with some to spare
IMAGE_BYTES = 32 * 32 * 3
LIMIT = 1.1


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
    return Outcome([target], _table(rows))


def _table(rows: list[list[Cell]]) -> list[Table]:
    columns = ["images", "wall clock, s", "CPU, s", "raw MB/s", "peak memory, MiB"]
    return [Table("perturb_file, block_scramble k=4", columns, rows, "One run each.")]
