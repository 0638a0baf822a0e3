"""What a laboratory's files hold reaches the classifier: two classes that differ in one thing are told apart."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from ruamel.yaml import YAML

from benchmarks.lab.dicom import dataset
from privpipe.cli.prediction import classify, load_classifier
from privpipe.cli.queries import Query
from privpipe.reading import Reading
from privpipe.store import PERTURBED, open_store
from stages import download, evaluate, keygen, perturb, train

ROOT = Path(__file__).parents[2]

SIZE, EACH = 32, 60


def field(rng: np.random.Generator, label: int, white: int, dtype: str = "u2") -> np.ndarray:
    """Noise, in which a bright half is the left one or the upper one: the mean tells nothing."""
    values = rng.integers(0, white // 4, (SIZE, SIZE))
    half = values[:, : SIZE // 2] if label else values[: SIZE // 2]
    half += white // 4
    return values.astype(dtype)


def third_channel(path: Path, rng: np.random.Generator, label: int) -> None:
    planes = rng.integers(0, 60000, (3, SIZE, SIZE)).astype("u2")
    planes[2] = field(rng, label, 60000)
    tifffile.imwrite(path.with_suffix(".tif"), planes, imagej=True, metadata={"axes": "CYX"})


def twelve_bits(path: Path, rng: np.random.Generator, label: int) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), field(rng, label, 400))  # of 4096, in 16 bits


def dicom(path: Path, rng: np.random.Generator, label: int) -> None:
    values, window = field(rng, label, 1200), {"WindowCenter": 400, "WindowWidth": 800}
    made = dataset(values, "MONOCHROME1", BitsStored=12, Rows=SIZE, Columns=SIZE, **window)
    made.save_as(path, enforce_file_format=True)  # without a suffix, as they come


def ome(path: Path, rng: np.random.Generator, label: int) -> None:
    stack = rng.integers(0, 900, (2, 3, SIZE, SIZE)).astype("u2")
    stack[1, 1] = field(rng, label, 4095)  # in one plane of the second channel
    meta = {"axes": "CZYX", "SignificantBits": 12, "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path.with_suffix(".ome.tif"), stack, ome=True, metadata=meta)


KINDS: dict[str, tuple[Callable[[Path, np.random.Generator, int], None], dict[str, Any], Reading]] = {
    "channel 3 alone": (third_channel, {"channels": [1, 2, 3]}, Reading(channels=("1", "2", "3"))),
    "12 bits": (twelve_bits, {"range": "set"}, Reading(range="set")),
    "DICOM": (dicom, {}, Reading()),
    "OME-TIFF": (ome, {"channels": ["GFP"], "stack": "max"}, Reading(channels=("GFP",), stack="max")),
}


def run(command: Any, *arguments: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.pipeline
@pytest.mark.parametrize("kind", KINDS)
def test_two_classes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    write, settings, reading = KINDS[kind]
    for label, name in enumerate(("across", "along")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(EACH):
            write(tmp_path / "images" / name / f"IM{i:04}", np.random.default_rng([label, i]), label)
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
