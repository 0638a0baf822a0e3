"""What the pipeline costs beside its work: DVC, imports, the small stages: `python -m benchmarks --only overhead`."""

import pstats
import re
import sys
from collections import Counter
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.child import ROOT
from benchmarks.project import commit, copy_project, environment, run
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread, clocked, faster, side_by_side

TITLE = "What the pipeline itself costs"
ABOUT = """
`make demo` was run as tools/demo.sh does it, in a copy of the project, with a `python` in front that notes the CPU
seconds of each stage; what is left of `dvc exp run` is DVC's own. Then `dvc repro` in that finished project, where
nothing is left to do, took turns with `dvc repro` in a project with as many stages of `cp`, one dependency and one
output each. Imports were measured in a fresh Python for each stage; `python` is Python alone. That no stage imports
torch without need is a test (tests/pipeline/test_declarations.py).
"""
WORK = ("train", "reference_classifier", "attack")  # the training and the attacks: what the demo is for
NOOP_LIMIT, DEMO_LIMIT = 1.25, 22.0
SMALL = {
    **{"data.n_train": 200, "data.n_val": 50, "data.n_test": 60, "data.public": 0.2, "train.epochs": 1},
    **{"attack.targets": 30, "attack.pairs": 20, "attack.network_epochs": 1, "attack.reference_epochs": 1},
}
# Runs the real Python and notes what it cost: the second line of `times`, which a pipe would empty, is of the children.
SHIM = """#!/usr/bin/env bash
"$BENCH_PYTHON" "$@"
code=$?
times > "$BENCH_TIMES.now"
echo "$2 $(tail -n 1 "$BENCH_TIMES.now")" >> "$BENCH_TIMES"
exit $code
"""


def measure(setting: Setting) -> Outcome:
    folder = setting.folder("overhead")
    project = copy_project(folder / "project")
    stages = list(YAML(typ="safe", pure=True).load(project / "dvc.yaml")["stages"])
    demo_target, demo_table = measure_demo(setting, folder, project, stages)
    commit(project)
    noop_target, noop_table = measure_noop(setting, project, empty_project(folder / "empty", len(stages)), len(stages))
    return Outcome([noop_target, demo_target], [noop_table, demo_table, measure_imports(setting, stages)])


def measure_demo(setting: Setting, folder: Path, project: Path, stages: list[str]) -> tuple[Target, Table]:
    """CPU seconds of the demo by stage, and of DVC."""
    setting.tell("make demo, stage by stage")
    shim, times = folder / "bin" / "python", folder / "times.txt"
    shim.parent.mkdir()
    shim.write_text(SHIM)
    shim.chmod(0o755)
    env = environment(shim.parent) | {"BENCH_PYTHON": sys.executable, "BENCH_TIMES": str(times)}
    wanted = re.findall(r"--set-param (\S+)", (ROOT / "tools" / "demo.sh").read_text())
    changes = [*wanted, *(f"{name}={value}" for name, value in SMALL.items() if setting.quick)]
    arguments = [word for change in changes for word in ("--set-param", change)]
    _, whole = clocked(lambda: run(project, "dvc", "exp", "run", "--quiet", *arguments, env=env))
    _, shown = clocked(lambda: run(project, "dvc", "metrics", "show"))
    spent = {name: 0.0 for name in stages}
    for line in times.read_text().splitlines():
        stage, *parts = line.split()
        spent[stage.removeprefix("stages.")] += sum(map(seconds, parts))
    dvc = whole - sum(spent.values()) + shown
    outside = dvc + sum(value for name, value in spent.items() if name not in WORK)
    costs = {**{name: (value, name in WORK) for name, value in spent.items()}, "DVC's own": (dvc, False)}
    largest = sorted(((value, name) for name, (value, work) in costs.items() if not work), reverse=True)[:3]
    bound = "the largest parts are " + ", ".join(f"{name} ({value:.1f} s)" for value, name in largest)
    rows: list[list[Cell]] = [
        [name, value, "" if work else 100 * value / outside] for name, (value, work) in costs.items()
    ]
    rows += [["all outside training and attacks", outside, 100.0], ["everything", whole + shown, ""]]
    target = Target(
        "demo-overhead",
        "`make demo` outside training and attacks, CPU time",
        "s",
        Spread.of([outside]),
        at_most=DEMO_LIMIT,
        bound=bound if outside > DEMO_LIMIT else "",
    )
    columns = ["stage", "CPU, s", "of what is outside training and attacks, %"]
    note = (
        f"Training and attacks are {', '.join(WORK)}; scoring is outside. DVC's own is `dvc exp run` less its stages, "
    )
    note += "and `dvc metrics show`. One run."
    return target, Table("`make demo` by stage", columns, rows, note)


def seconds(text: str) -> float:
    """Of `1m2.345s`, as `times` writes it."""
    minutes, rest = text.rstrip("s").split("m")
    return 60 * int(minutes) + float(rest)


def empty_project(folder: Path, count: int) -> Path:
    """A project of `count` stages that copy a file, reproduced and committed."""
    folder.mkdir()
    stages = {}
    for i in range(count):
        (folder / f"in{i}.txt").write_text(f"{i}\n")
        stages[f"stage{i}"] = {"cmd": f"cp in{i}.txt out{i}.txt", "deps": [f"in{i}.txt"], "outs": [f"out{i}.txt"]}
    with (folder / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    run(folder, "dvc", "init", "--quiet")
    run(folder, "dvc", "repro", "--quiet")
    commit(folder)
    return folder


def measure_noop(setting: Setting, project: Path, empty: Path, count: int) -> tuple[Target, Table]:
    """`dvc repro` where nothing is left to do."""
    setting.tell("dvc repro with nothing left to do")
    if "up to date" not in run(project, "dvc", "repro"):
        raise AssertionError("the finished project is not up to date")
    contenders = {"ours": lambda: run(project, "dvc", "repro"), "empty": lambda: run(empty, "dvc", "repro")}
    timings = side_by_side(contenders, setting.pick(5, 1))
    value = faster(timings, "empty", "ours")  # how many times as long ours takes
    rows: list[list[Cell]] = [
        [what, Spread.of(timings[name].wall), Spread.of(timings[name].cpu)]
        for name, what in (("ours", f"this project, {count} stages"), ("empty", f"empty project, {count} stages"))
    ]
    rows.append(["ratio", value, faster(timings, "empty", "ours", "cpu")])
    target = Target(
        "noop-repro",
        f"`dvc repro` with nothing to do: against {count} empty stages",
        "x",
        value,
        at_most=NOOP_LIMIT,
        bound=noop_bound(project, empty) if value.median > NOOP_LIMIT else "",
    )
    return target, Table("`dvc repro` with nothing left to do", ["project", "wall clock, s", "CPU, s"], rows)


def noop_bound(project: Path, empty: Path) -> str:
    """What DVC spends more time on here than in an empty project, by package."""
    ours, other = profile_by_package(project), profile_by_package(empty)
    more = {name: seconds - other.get(name, 0.0) for name, seconds in ours.items()}
    total = sum(ours.values()) - sum(other.values())
    largest = sorted(((value, name) for name, value in more.items()), reverse=True)[:3]
    size = sum(len((project / name).read_bytes()) for name in ("dvc.yaml", "dvc.lock"))
    parts = ", ".join(f"{100 * value / total:.0f} % in {name}" for value, name in largest)
    return f"by cProfile, of what DVC takes longer, {parts}; it parses {size / 1e3:.0f} kB of dvc.yaml and dvc.lock"


def profile_by_package(project: Path) -> dict[str, float]:
    """Own seconds of a `dvc repro` by installed package; Python's own library is one."""
    path = project.parent / "profile"
    run(project, "dvc", "repro", "--cprofile-dump", str(path))
    seconds: Counter[str] = Counter()
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]  # typeshed lacks it
    for (file, _, _), entry in stats.items():
        installed = re.search(r"site-packages/(\w+)", file)
        seconds[installed[1] if installed else "Python"] += entry[2]
    path.unlink()
    return dict(seconds)


def measure_imports(setting: Setting, stages: list[str]) -> Table:
    """CPU seconds of starting each stage, up to where its work would begin."""
    setting.tell("what the stages import")
    rows: list[list[Cell]] = []
    for name in ("python", *stages):
        code = "" if name == "python" else f"import stages.{name}; "
        code = f"import sys, time; {code}print(time.process_time(), 'torch' in sys.modules, len(sys.modules))"
        runs = [run(ROOT, sys.executable, "-c", code).split() for _ in range(setting.pick(5, 1))]
        rows.append(
            [
                name,
                Spread.of([float(cpu) for cpu, _, _ in runs]),
                "yes" if runs[0][1] == "True" else "",
                int(runs[0][2]),
            ]
        )
    return Table("Imports", ["stage", "CPU, s", "imports torch", "modules"], rows)
