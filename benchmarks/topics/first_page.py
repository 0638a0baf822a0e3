"""From `git clone` to the demo's page, against an earlier build: `python -m benchmarks --only first_page`."""

import os
import sys
import time
from collections.abc import Callable
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
`git clone`, `make setup` and `make demo`, as a newcomer types them, of this build (as committed) and of {REVISION}, in
turns, by the clock on the wall. Both install what their lock files pin from the package index or pip's cache, which one
installation that does not count has filled; `tools/demo.sh` ends with the page written.
"""
LIMIT = 0.7
PAGE = "demo/reports/index.html"
STEPS = ("clone", "installation", "demo")


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def outside() -> dict[str, str]:
    """The environment of somebody who has just opened a terminal: none of this checkout's programs or settings."""
    env = environment()
    own = str(Path(sys.executable).parent)
    path = [folder for folder in os.environ["PATH"].split(os.pathsep) if folder != own]
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", *THREAD_VARIABLES)
    return {name: value for name, value in env.items() if name not in dropped} | {"PATH": os.pathsep.join(path)}


def first_page(folder: Path, revision: str, only_setup: bool = False) -> list[float]:
    """Seconds of each of `STEPS`.

    Args:
        only_setup: without the demo, to fill pip's cache.

    Raises:
        RuntimeError: a command failed, or there is no page at the end.
    """
    env = outside()
    clone = folder / "privpipe"

    def cloned() -> None:
        run(folder, "git", "clone", "--quiet", "--no-checkout", str(ROOT), str(clone), env=env)
        run(clone, "git", "checkout", "--quiet", revision, env=env)

    steps: list[Callable[[], object]] = [cloned, lambda: run(clone, "make", "setup", env=env)]
    if not only_setup:
        steps.append(lambda: run(clone, "make", "demo", env=env))
    seconds = [timed(step) for step in steps]
    if not (only_setup or (clone / PAGE).exists()):
        raise RuntimeError(f"make demo of {revision} left no {PAGE}")
    return seconds


def measure(setting: Setting) -> Outcome:
    builds = {"this": run(ROOT, "git", "rev-parse", "HEAD").strip(), REVISION: REVISION}
    spent: dict[str, list[list[float]]] = {name: [] for name in builds}
    if not setting.quick:
        for name, revision in builds.items():
            setting.tell(f"fill pip's cache for {name}")
            first_page(setting.folder("first"), revision, only_setup=True)
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
