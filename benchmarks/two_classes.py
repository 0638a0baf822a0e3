"""Two classes that differ in one thing alone, such as channel 3 or the window of a DICOM file: are they told apart?

    python -m benchmarks.two_classes                            # every kind of file, half a minute each
    python -m benchmarks.two_classes --only DICOM --each 100

What is not read rightly cannot be told apart: half of the test images are then right. Each kind is written by tifffile
or pydicom into a folder of its own, and brought through the commands of docs/own-images.md: `privpipe init` with what
must be set for such files, and `dvc repro evaluate`. All else is as `privpipe init` sets it: a real key, blocks of 4x4
scrambled with a fresh stream for each image, the network `baseline`. Prints a table. Exit code 1 if a kind stays below
95 % of the test images.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.lab.differing import KINDS, SIDE, Kind, write_images

LEAST = 0.95
COLUMNS = ("files", "set", "test images", "test accuracy", "95 % interval")


def evaluated(folder: Path, kind: Kind, each: int) -> dict[str, Any]:
    """The metrics of a project for such images, in an empty folder."""
    write_images(folder / "images", kind, each)
    tools = Path(sys.executable).parent  # `privpipe` and `dvc` of this environment
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PRIVPIPE_KEYS": str(folder / "keys"),
    }
    settings = [f"--set-param=data.{name}={json.dumps(value)}" for name, value in kind.settings.items()]
    init = ["privpipe", "init", "lab", "--images", str(folder / "images"), "--image-size", str(SIDE), *settings]
    for command, place in ((init, folder), (["dvc", "repro", "--quiet", "evaluate"], folder / "lab")):
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise click.ClickException(f"{' '.join(command)} failed for {kind.name}:\n{done.stdout}{done.stderr}")
    metrics = [json.loads((folder / "lab/metrics" / f"{name}.json").read_text()) for name in ("perturb", "evaluate")]
    return {**metrics[0], **metrics[1]}


def row(kind: Kind, metrics: dict[str, Any]) -> tuple[str, ...]:
    said = ", ".join(f"`data.{name}: {json.dumps(value)}`".replace('"', "") for name, value in kind.settings.items())
    low, high = metrics["test_accuracy_low"], metrics["test_accuracy_high"]
    return (
        *(kind.name, said or "nothing", str(metrics["n_test"]), f"{metrics['test_accuracy']:.1%}"),
        f"{low:.1%} to {high:.1%}",
    )


@click.command(help=__doc__)
@click.option("--only", default="", help="words of the names of the kinds to take")
@click.option("--each", default=250, show_default=True, type=click.IntRange(20), help="images of each class")
def main(only: str, each: int) -> None:
    failed = 0
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for kind in KINDS:
        if only in kind.name:
            with tempfile.TemporaryDirectory(prefix="two-classes-") as folder:
                metrics = evaluated(Path(folder), kind, each)
            failed += metrics["test_accuracy"] <= LEAST
            print(f"| {' | '.join(row(kind, metrics))} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
