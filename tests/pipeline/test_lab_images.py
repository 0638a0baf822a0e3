"""What a laboratory's files hold reaches the classifier: two classes that differ in one thing are told apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from benchmarks.lab import two_classes
from benchmarks.lab.two_classes import KINDS, SIZE
from privpipe.cli.prediction import classify, load_classifier
from privpipe.cli.queries import Query
from privpipe.reading import Reading
from privpipe.store import PERTURBED, open_store
from stages import download, evaluate, keygen, perturb, train

ROOT = Path(__file__).parents[2]

EACH = 60
TESTED = [kind for kind in KINDS if kind != "16 bits, channel 3 alone, ImageJ"]


def run(command: Any, *arguments: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.pipeline
@pytest.mark.parametrize("kind", TESTED)
def test_two_classes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    _, settings, reading = KINDS[kind]
    two_classes.write(kind, tmp_path / "images", EACH)
    params = YAML().load(ROOT / "params.yaml")
    params["data"].update(source="folder", path=str(tmp_path / "images"), n_val=20, image_size=SIZE, **settings)
    params["perturb"].update(method="block_scramble", k=2)
    params["model"].update(arch="baseline")
    params["train"].update(epochs=6, device="cpu", threads=1, precision="float32", batch_size=16)
    monkeypatch.chdir(tmp_path)
    YAML().dump(params, Path("params.yaml"))
    run(keygen.main, "--key", "key.json", "--perturb-metrics", "none.json")
    files = ["--images", "images.h5", "--public", "public.h5", "--summary", "summary.json"]
    run(download.main, "--folder", "raw", "--key", "key.json", *files)
    run(
        perturb.main, "--images", "images.h5", "--key", "key.json", "--perturbed", "perturbed.h5", "--metrics", "p.json"
    )
    run(
        train.main,
        "--perturbed",
        "perturbed.h5",
        "--model",
        "m",
        "--metrics",
        "t.json",
        "--curve",
        "t.csv",
        "--times",
        "x.json",
    )
    tables = ["--metrics", "e.json", "--confusion", "c.csv", "--classes", "k.csv"]
    run(evaluate.main, "--perturbed", "perturbed.h5", "--model", "m", *tables)
    assert json.loads(Path("e.json").read_text())["test_accuracy"] > 0.95

    with open_store("perturbed.h5", PERTURBED) as store:
        found = Reading.parse(store.header.reading)
        assert store.header.shape == (SIZE, SIZE, reading.count)
    assert (found.channels, found.stack, found.range) == (reading.channels, reading.stack, reading.range)
    assert bool(found.limits) == (reading.range == "set")
    about = json.loads(Path("summary.json").read_text())
    assert about["left_out"]["count"] == 0 and sum(about["images"].values()) == 2 * EACH

    from privpipe.owner.keyhome import read_key

    classifier = load_classifier("m", lambda: read_key("key.json"))
    paths = sorted((tmp_path / "images").glob("*/IM*"))
    queries = [Query(path, Path(path.name)) for path in paths]
    predictions = classify(queries, classifier, 1, pytest.fail)
    right = [one.classes[0][0] == path.parent.name for one, path in zip(predictions, paths, strict=True)]
    assert np.mean(right) > 0.95
