"""What a laboratory's files hold reaches the classifier: two classes that differ in one thing are told apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from benchmarks.lab.differing import KINDS, SIDE, Kind, write_images
from privpipe.cli.prediction import classify, load_classifier
from privpipe.cli.queries import Query
from privpipe.reading import Reading
from privpipe.store import PERTURBED, open_store
from stages import download, evaluate, keygen, perturb, train

ROOT = Path(__file__).parents[2]

EACH = 60
CHOSEN = (
    "ImageJ hyperstack, 3 channels: the third",
    "12 bits in 16, not said",
    "DICOM, 12 bits with a window",
    "OME-TIFF, 12 bits: GFP in one of 3 planes",
)


def run(command: Any, *arguments: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.pipeline
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name in CHOSEN], ids=lambda kind: kind.name)
def test_two_classes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    reading, settings = kind.reading, kind.settings
    write_images(tmp_path / "images", kind, EACH)
    params = YAML().load(ROOT / "params.yaml")
    params["data"].update(source="folder", path=str(tmp_path / "images"), n_val=20, image_size=SIDE, **settings)
    params["perturb"].update(method="block_scramble", k=2)
    params["model"].update(arch="baseline")
    params["train"].update(epochs=6, device="cpu", threads=1, precision="float32", batch_size=16)
    monkeypatch.chdir(tmp_path)
    YAML().dump(params, Path("params.yaml"))
    run(keygen.main, "--key", "key.json", "--perturb-metrics", "none.json")
    files = ["--images", "images.h5", "--public", "public.h5", "--summary", "summary.json"]
    run(download.main, "--folder", "raw", "--key", "key.json", *files)
    files = ["--images", "images.h5", "--public", "public.h5", "--key", "key.json"]
    run(perturb.main, *files, "--perturbed", "perturbed.h5", "--queries", "queries.h5", "--metrics", "p.json")
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
    run(evaluate.main, "--perturbed", "perturbed.h5", "--model", "m", "--queries", "queries.h5", *tables)
    assert json.loads(Path("e.json").read_text())["test_accuracy"] > 0.95

    with open_store("perturbed.h5", PERTURBED) as store:
        found = Reading.parse(store.header.reading)
        assert store.header.shape == (SIDE, SIDE, reading.count)
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
