"""Laboratories' images in this build and an earlier one, in turns: `python -m benchmarks --only laboratory`."""

from benchmarks.against import checked_out
from benchmarks.against_cases import RESTORED
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.topics.builds import REVISION, one_case, ratio, row, target

TITLE = f"Reading a folder, restoring with known keys: this build and {REVISION}"
ABOUT = f"""
A folder of files of 256x256, twelve kinds that both builds read (PNG, JPEG, BMP, WebP and TIFF, grey and colour, 8 and
16 bits), to one HDF5 file. And level L3: {RESTORED:,} drawn images under a filter of 5x5 for each,
restored with their keys; PSNR in dB says how well. Each build is in processes of its own, without rounds before those
that count.
"""
CASES = (
    # topic of against_cases, case, at least, rounds
    ("reading", "all kinds mixed, 10,000 files of 256x256", 0.9, 2),
    ("restoration", "random_filter k=5, scope image, 32x32", 20.0, 3),
)


def measure(setting: Setting) -> Outcome:
    targets: list[Target] = []
    rows: list[list[Cell]] = []
    with checked_out(REVISION) as tree:
        for topic, case, wanted, rounds in CASES:
            setting.tell(f"{case}: this build and {REVISION}")
            mine, other, qualities = one_case(tree, topic, case, rounds, warmup=0)
            cpu, wall = ratio(mine, other)
            targets.append(target(case, cpu, wanted, ""))
            rows.append([*row(case, mine, other, cpu, wall), *(qualities or (None, None))])
    columns = ["", "this, CPU µs per item", f"{REVISION}, CPU µs per item", "ratio of CPU time", "of wall-clock time"]
    note = "An item is an image. Rounds: " + ", ".join(f"{rounds} of {topic}" for topic, _, _, rounds in CASES) + "."
    return Outcome(targets, [Table("In turns", [*columns, "dB, this", f"dB, {REVISION}"], rows, note)])
