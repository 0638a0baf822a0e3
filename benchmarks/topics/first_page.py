"""From `git clone` to the demo's page, against an earlier build: `python -m benchmarks --only first_page`."""

import os
import sys
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.against import THREAD_VARIABLES
from benchmarks.child import ROOT
from benchmarks.project import environment, run
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread
from benchmarks.topics.builds import REVISION

TITLE = "From a clone to the demo's page"
ABOUT = f"""
`git clone` and `make demo`, as a newcomer types them, of this build (as committed) and of {REVISION}, in turns, by the
clock on the wall. `make demo` installs what the pipeline needs ({REVISION}: all that the lock file pins) from the
package index or pip's cache, which one installation that does not count has filled, and ends with the page written.
"""
LIMIT = 0.7
PAGE = "demo/reports/index.html"
STEPS = ("clone", "installation", "demo")
INSTALLED = (".venv/.pipeline", ".venv/.installed")  # what make touches at the end of it, here and in earlier builds


def outside() -> dict[str, str]:
    """The environment of somebody who has just opened a terminal: none of this checkout's programs or settings."""
    env = environment()
    own = str(Path(sys.executable).parent)
    path = [folder for folder in os.environ["PATH"].split(os.pathsep) if folder != own]
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", *THREAD_VARIABLES)
    return {name: value for name, value in env.items() if name not in dropped} | {"PATH": os.pathsep.join(path)}


def first_page(folder: Path, revision: str, target: str = "demo") -> list[float]:
    """Seconds of each of `STEPS`.

    Args:
        target: what is made; `setup` leaves out the demo and fills pip's cache.

    Raises:
        RuntimeError: a command failed, or there is no page at the end of a demo.
    """
    env = outside()
    clone = folder / "privpipe"
    times = [time.time()]
    run(folder, "git", "clone", "--quiet", "--no-checkout", str(ROOT), str(clone), env=env)
    run(clone, "git", "checkout", "--quiet", revision, env=env)
    times.append(time.time())
    run(clone, "make", target, env=env)
    times.append(next(marker.stat().st_mtime for name in INSTALLED if (marker := clone / name).exists()))
    times.append(time.time())
    if target == "demo" and not (clone / PAGE).exists():
        raise RuntimeError(f"make demo of {revision} left no {PAGE}")
    return [after - before for before, after in pairwise(times)]


def measure(setting: Setting) -> Outcome:
    builds = {"this": run(ROOT, "git", "rev-parse", "HEAD").strip(), REVISION: REVISION}
    spent: dict[str, list[list[float]]] = {name: [] for name in builds}
    if not setting.quick:
        for name, revision in builds.items():
            setting.tell(f"fill pip's cache for {name}")
            first_page(setting.folder("first"), revision, "setup")
    for turn in range(setting.pick(2, 1)):
        for name in list(builds)[:: 1 if turn % 2 else -1]:
            setting.tell(f"from a clone to the page, {name}, round {turn + 1}")
            spent[name].append(first_page(setting.folder("first"), builds[name]))
    pairs = zip(spent["this"], spent[REVISION], strict=True)
    ratio = Spread.of([sum(ours) / sum(theirs) for ours, theirs in pairs])
    by_step = {name: [Spread.of(step) for step in zip(*rounds, strict=True)] for name, rounds in spent.items()}
    rows: list[list[Cell]] = [[step, *(by_step[name][i] for name in builds)] for i, step in enumerate(STEPS)]
    rows.append(["all", *(Spread.of([sum(steps) for steps in rounds]) for rounds in spent.values())])
    mine = [step.median for step in by_step["this"]]
    bound = ", ".join(f"{100 * part / sum(mine):.0f} % {step}" for step, part in zip(STEPS, mine, strict=True))
    target = Target(
        "first-page",
        f"from git clone to the demo's page, installation included: against {REVISION}, wall-clock time",
        "x",
        ratio,
        at_most=LIMIT,
        bound="" if ratio.median <= LIMIT else f"of this build's time {bound}",
    )
    return Outcome([target], [Table("Seconds of wall-clock time", ["", "this, s", f"{REVISION}, s"], rows)])
