"""Kill DVC and its stages at random moments, and make it good again: the same bytes as without a kill, every time.

    python benchmarks/kills.py                 # 40 kills: 9 minutes on 2 busy cores
    python benchmarks/kills.py --rounds 3

A small project with drawn images runs once undisturbed, in a temporary folder. Then in each round DVC runs a stage
chosen at random again (at every fifth round all from there on), and at a random moment gets SIGKILL: DVC with all of
its processes, DVC alone (its stage goes on without it), the stage alone, or all at the first moment after that at
which DVC has emptied `dvc.lock` or its list of locks to write it again. Where DVC was faster, it is tried again,
earlier. `privpipe doctor --fix` and `dvc repro` follow. A round is good when both succeed and every output that
holds no measured time has the bytes of the undisturbed run.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
from ruamel.yaml import YAML

if __name__ == "__main__":  # as a file: the folder above is not on the path
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.project import commit, copy_project, environment, run

SMALL = {
    "data": {"source": "synthetic", "n_train": 200, "n_val": 50, "n_test": 60, "public": 0.2},
    "train": {"epochs": 1, "threads": 1},
    "attack": {"targets": 30, "pairs": 20, "network_epochs": 1, "reference_epochs": 1},
}
STAGES = (
    *("download", "keygen", "perturb", "leak", "reference_classifier", "train"),
    *("evaluate", "descramble", "attack", "score", "report"),
)
TRIES = 5
WAYS = ("all", "dvc alone", "stage alone", "dvc writing")
NOTES = ("dvc.lock", ".dvc/tmp/rwlock")  # DVC empties them before it writes them
TIMED = "times"  # in the path of every output with measured seconds, which no two runs share


@dataclass(frozen=True)
class Round:
    """What one kill did.

    Args:
        way: who was killed, of `WAYS`.
        stage: that DVC was told to run.
        moment: seconds after DVC's start.
        killed: False where DVC had finished before, however often it was tried.
        repaired: what `privpipe doctor` found, one line each.
        problem: what was wrong afterwards; None where all is well.
    """

    way: str
    stage: str
    moment: float
    killed: bool
    repaired: tuple[str, ...]
    problem: str | None


def prepare(folder: Path) -> dict[str, str]:
    """A small project after an undisturbed run, committed; the digest of each output that holds no measured time."""
    copy_project(folder)
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    for group, values in SMALL.items():
        params[group].update(values)
    yaml.dump(params, folder / "params.yaml")
    run(folder, "dvc", "repro", "--quiet")
    commit(folder)
    return digests(folder)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every output of the pipeline but those with measured times."""
    stages = YAML(typ="safe").load(folder / "dvc.yaml")["stages"]
    found = {}
    for stage in stages.values():
        for out in [*stage.get("outs", []), *stage.get("metrics", [])]:
            path = out if isinstance(out, str) else next(iter(out))
            if TIMED not in path:
                found[path] = digest(folder / path)
    return found


def digest(output: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names."""
    if output.is_dir():
        files = [(file.name, digest(file)) for file in sorted(output.iterdir())]
        return hashlib.sha256(repr(files).encode()).hexdigest()
    return hashlib.sha256(output.read_bytes()).hexdigest() if output.exists() else "missing"


def kill_rounds(folder: Path, expected: dict[str, str], rounds: int, seed: int) -> Iterator[Round]:
    """Kill and repair `rounds` times."""
    rng = random.Random(seed)
    longest = {stage: 8.0 for stage in STAGES}  # until it was seen how long DVC takes
    for number in range(rounds):
        way, stage = WAYS[number % len(WAYS)], rng.choice(STAGES)
        for _ in range(TRIES):
            moment = rng.uniform(0.2, longest[stage])
            took = kill(folder, stage, way, moment, downstream=number % 5 == 4)
            if took is None:
                break
            longest[stage] = max(1.0, took)
        repaired, problem = repair(folder)
        problem = problem or differences(folder, expected)
        yield Round(way, stage, moment, took is None, repaired, problem)


def kill(folder: Path, stage: str, way: str, moment: float, downstream: bool = False) -> float | None:
    """Run a stage by DVC and kill it after `moment` seconds; how long DVC took where it was faster."""
    extra = ["--downstream"] if downstream else ["--single-item"]
    start = time.perf_counter()
    dvc = subprocess.Popen(
        ["dvc", "repro", "--force", "--no-run-cache", *extra, stage],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with suppress(subprocess.TimeoutExpired):
        dvc.wait(moment)
        return time.perf_counter() - start
    while way == "dvc writing" and dvc.poll() is None:
        if any((folder / name).exists() and not (folder / name).stat().st_size for name in NOTES):
            break
    if dvc.poll() is not None:
        return time.perf_counter() - start
    if way in ("all", "dvc writing"):
        os.killpg(dvc.pid, signal.SIGKILL)
    elif way == "dvc alone":
        dvc.kill()
    else:
        children = psutil.Process(dvc.pid).children(recursive=True)
        for process in children or [psutil.Process(dvc.pid)]:  # DVC between two stages: it is killed itself
            with suppress(psutil.NoSuchProcess):
                process.kill()
    dvc.wait()
    return None


def repair(folder: Path) -> tuple[tuple[str, ...], str | None]:
    """`privpipe doctor --fix`, again while a stage goes on without its DVC; then `dvc repro`."""
    found: tuple[str, ...] = ()
    for _ in range(120):
        done = call(folder, "privpipe", "doctor", "--fix")
        found = tuple(line for line in done.stdout.splitlines() if line.endswith(":") and not line.startswith(" "))
        if done.returncode == 0:
            break
        if "are at work" not in done.stdout:
            return found, f"privpipe doctor --fix: {done.stdout}{done.stderr}"
        time.sleep(1)
    done = call(folder, "dvc", "repro")
    return found, f"dvc repro: {done.stdout}{done.stderr}" if done.returncode else None


def call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment(), text=True, capture_output=True, timeout=600)


def differences(folder: Path, expected: dict[str, str]) -> str | None:
    """What is not as in the undisturbed run, or None."""
    found = digests(folder)
    wrong = [path for path in expected if found[path] != expected[path]]
    left = [str(path) for path in folder.rglob("*.partial")]
    return f"other bytes: {wrong}; left: {left}" if wrong or left else None


@click.command(help=__doc__)
@click.option("--rounds", default=40, show_default=True, help="kills")
@click.option("--seed", default=0, show_default=True, help="draws stages and moments")
def main(rounds: int, seed: int) -> None:
    good, killed, repaired = 0, 0, Counter[str]()
    with tempfile.TemporaryDirectory(prefix="privpipe-kills-") as name:
        folder = Path(name) / "project"
        folder.mkdir()
        expected = prepare(folder)
        click.echo(f"{len(expected)} outputs compared")
        for number, one in enumerate(kill_rounds(folder, expected, rounds, seed), 1):
            good += one.problem is None
            killed += one.killed
            repaired.update(line.replace(f"{folder}/", "").rstrip(":") for line in one.repaired)
            verdict = one.problem or "the same bytes"
            what = "killed" if one.killed else "was faster"
            click.echo(f"{number}: {one.stage}, {one.way}, {one.moment:.1f} s: {what}; {verdict}", nl=True)
            for line in one.repaired:
                click.echo(f"   repaired: {line.replace(str(folder), '.')}")
    click.echo(f"{killed} of {rounds} runs were killed; {good} of {rounds} ended with the same bytes")
    for what, count in repaired.most_common():
        click.echo(f"  {count} x {what}")
    raise SystemExit(good != rounds)


if __name__ == "__main__":
    main()
