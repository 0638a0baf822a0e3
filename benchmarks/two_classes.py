"""Whether what a laboratory's files hold reaches the classifier: test accuracy of two classes that differ in one thing.

    python -m benchmarks.two_classes                  # all kinds, about half a minute each
    python -m benchmarks.two_classes --only DICOM     # those whose name has this

Each kind goes the way of docs/own-images.md: a folder of files, `privpipe init`, `dvc repro evaluate`. It needs
privpipe installed with its extras `pipeline` and `lab`. Exit code 1 if an accuracy is 95 % or less.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.lab.two_classes import KINDS, write

BIN = Path(sys.executable).parent
SETTINGS = {"train.epochs": 6, "train.batch_size": 16, "perturb.k": 2, "data.n_test": 100}


def accuracy(kind: str, each: int) -> float:
    """Test accuracy after the documented commands on `each` images of both classes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(kind, root / "images", each)
        environment = os.environ | {"PRIVPIPE_KEYS": str(root / "keys"), "PATH": f"{BIN}:{os.environ['PATH']}"}
        values = {**SETTINGS, **{f"data.{name}": value for name, value in KINDS[kind][1].items()}}
        settings = [word for name, value in values.items() for word in ("-S", f"{name}={json.dumps(value)}")]
        init = ["privpipe", "init", "lab", "--images", "images", "--image-size", "32", *settings]
        for words, place in ((init, root), (["dvc", "repro", "evaluate"], root / "lab")):
            done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise click.ClickException(f"{' '.join(words)} failed for {kind}:\n{done.stdout}{done.stderr}")
        return float(json.loads((root / "lab/metrics/evaluate.json").read_text())["test_accuracy"])


@click.command(help=__doc__)
@click.option("--only", default="", help="kinds whose name has this")
@click.option("--each", default=200, show_default=True, help="images of each class")
def main(only: str, each: int) -> None:
    low = False
    print(f"{'two classes that differ in':<45} {'test accuracy':>13}")
    for kind in KINDS:
        if only in kind:
            found = accuracy(kind, each)
            low |= found <= 0.95
            print(f"{kind:<45} {found:>13.1%}", flush=True)
    sys.exit(low)


if __name__ == "__main__":
    main()
