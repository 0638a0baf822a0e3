"""Whose image it is, in this build and an earlier one, in turns: `python -m benchmarks --only linkage`."""

from functools import partial

from benchmarks.against import Build, checked_out, compare
from benchmarks.against_cases import LINKED, linkage
from benchmarks.child import ROOT
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting, hot_spots
from benchmarks.timing import Spread
from benchmarks.topics.builds import REVISION, ratio

TITLE = f"Telling an upload among candidates: this build and {REVISION}"
ABOUT = f"""
`method_similarity` of both builds: {LINKED:,} uploads among {LINKED:,} candidates, drawn images of 32x32, each build in
a process of its own with one thread, in turns. An item is an upload with a candidate. Uploads are made by the benchmark
(`uploads` in `benchmarks/against_cases.py`), so that both builds are asked for the same bytes; the mean rank of the
right candidate, 1 where it is always the likeliest, says whether they answer alike. torch is loaded in both, as in the
stage `score`. Ratios are of CPU time. gaussian_blur is missing where the earlier build's does not run with the
installed OpenCV.
"""
WANTED, ROUNDS = 5.0, 5


def measure(setting: Setting) -> Outcome:
    targets: list[Target] = []
    rows: list[list[Cell]] = []
    here = linkage()
    with checked_out(REVISION) as tree:
        builds: list[Build] = []
        try:
            builds += [Build(ROOT, "linkage", threads=1), Build(tree, "linkage", threads=1)]
            for case in builds[0].cases:
                if case not in builds[1].cases:
                    continue
                setting.tell(f"{case}: this build and {REVISION}")
                mine, other = compare(builds[0], builds[1], case, setting.pick(ROUNDS, 1), warmup=1)
                cpu, _ = ratio(mine, other)
                nanoseconds = [Spread.of([1e9 * of_cpu for _, of_cpu in seconds]) for seconds in (mine, other)]
                ranks = [build.qualities[case] for build in builds]
                bound = hot_spots(partial(here[case][1])) if cpu.median < WANTED else ""
                what = f"{case}: an upload told among candidates, against {REVISION}, CPU time"
                targets.append(Target(f"linkage-{case}", what, "x", cpu, at_least=WANTED, bound=bound))
                rows.append([case, *nanoseconds, cpu, *ranks])
        finally:
            for build in builds:
                build.close()
    columns = ["", "this, CPU ns per item", f"{REVISION}, CPU ns per item", "ratio", "mean rank, this", REVISION]
    return Outcome(targets, [Table("In turns", columns, rows, f"{ROUNDS} rounds.")])
