"""Whose image it is, of every method and release: `python -m benchmarks --only identification`."""

from collections import defaultdict

from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread
from privpipe.owner.key import new_key
from privpipe.scores.identification_table import Row, rows_of, rows_of_releases, settings

TITLE = "Whose image is it?"
ABOUT = """
The table of `privpipe.scores.identification_table`: three statements on every method at its usual sizes, keyed ones
with a key for each image, and on the releases of whole sets at two epsilons, whose features are made of 5,000 other
images without labels. 1,000 uploads are told among 10,000 candidates of ten classes, all of them different images.
Releases share the vectors, whose seconds are divided among them. Seconds are of CPU, once.
"""
LIMIT = 10 * 60.0


def measure(setting: Setting) -> Outcome:
    count, targets, others = setting.pick((10_000, 1000, 5000), (300, 30, 60))
    stream = new_key(0).stream
    images = setting.images(count + others, most=count + others)
    candidates, public, labels = images[:count], images[count:], setting.labels(count)
    seconds: dict[str, list[float]] = defaultdict(list)
    rows: list[Row] = []
    for method in settings(candidates.shape[1], stream):
        setting.tell(f"{method.name}, k={method.k}, sigma={method.sigma:g}")
        rows += rows_of([method], candidates, labels, targets)
    setting.tell("releases of whole sets")
    rows += rows_of_releases(candidates, labels, public, stream, targets)
    for row in rows:
        seconds[row.method.name].append(row.seconds)
    total = sum(row.seconds for row in rows)
    what = f"{len(rows)} settings of {len(seconds)} methods, {count:,} candidates, CPU time"
    slowest = sorted(seconds, key=lambda name: -sum(seconds[name]))[:3]
    bound = f"most of it in {', '.join(slowest)}" if total > LIMIT else ""
    target = Target("identification-all", what, "s", Spread(total, total, total), at_most=LIMIT, bound=bound)
    table: list[list[Cell]] = [[name, len(spent), sum(spent)] for name, spent in seconds.items()]
    return Outcome([target], [Table(f"Among {count:,} candidates", ["method", "settings", "CPU, s"], table)])
