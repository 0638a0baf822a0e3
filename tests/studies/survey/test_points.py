"""A survey in small: every point is measured once, wherever it is run, and a killed one goes on where it stopped."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import preloaded
import psutil
import pytest
from distributed import LocalCluster
from ruamel.yaml import YAML
from small_sweep import ROOT, SECONDS, SIZE, table

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.nn.bundle import save_bundle
from privpipe.owner.leaking import leak
from privpipe.scores.reference_classifier import train_reference_classifier
from privpipe.store import PUBLIC
from studies.survey.columns import COLUMNS
from studies.survey.tables import attacks_table, load_points, points_table

POINTS: dict[str, dict[str, Any]] = {
    "pixelate-4": {"method": "pixelate", "k": 4},
    "block_scramble-4-dataset": {"method": "block_scramble", "k": 4},
    "gaussian_noise-50-image": {"method": "gaussian_noise", "scope": "image", "sigma": 50.0},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What all points share."""
    folder = tmp_path_factory.mktemp("survey")
    train, test = draw(120, SIZE, rng=np.random.default_rng(0)), draw(20, SIZE, rng=np.random.default_rng(1))
    rows = {"train": np.arange(60), "val": np.arange(60, 80), "test": np.arange(20)}
    write_images(folder / "images.h5", train, test, rows)
    write_images(folder / "public.h5", train, test, {"train": np.arange(80, 120)}, PUBLIC)
    leak(folder / "images.h5", folder / "leaked.h5", 5)
    classifier = train_reference_classifier(folder / "images.h5", 1, 0, "cpu", 1)
    save_bundle(folder / "reference_classifier.safetensors", classifier)
    paths = {name: folder / f"{name}.h5" for name in ("images", "public", "leaked")}
    return {**paths, "reference-classifier": folder / "reference_classifier.safetensors"}


def command(folder: Path, files: dict[str, Path], scheduler: str = "inline", points: Any = None) -> list[str]:
    """The stage's command for a small survey in a folder, which it writes."""
    common = YAML(typ="safe", pure=True).load(ROOT / "studies" / "survey" / "common.yaml")
    common["data"] |= {"source": "synthetic", "image_size": SIZE, "n_train": 60, "n_val": 20, "n_test": 20}
    common["train"] |= {"epochs": 1, "batch_size": 20}
    common["attack"] |= {"targets": 12, "pairs": 5, "network_epochs": 1}
    sweep = {"recipes": ["paper"], "seeds": [0], "scheduler": scheduler, "workers": 1}
    groups = {name: {"perturb": values} for name, values in (points or POINTS).items()}
    folder.mkdir(parents=True, exist_ok=True)
    YAML().dump(common, folder / "common.yaml")
    YAML().dump({"sweep": sweep, "recipes": {"paper": None}, "groups": groups}, folder / "params.yaml")
    options = {"grid": folder / "params.yaml", "common": folder / "common.yaml", "rows": folder / "points.csv", **files}
    words = [f"--{name}={value}" for name, value in {**options, "scratch": folder / "scratch"}.items()]
    return [sys.executable, "-m", "studies.survey.points", *words]


def finish(words: list[str]) -> None:
    """Run a command to its end, by a program that starts faster."""
    subprocess.run(
        [preloaded.python(), *words[1:]], cwd=ROOT, check=True, stderr=subprocess.DEVNULL, timeout=4 * SECONDS
    )


def measured(folder: Path) -> list[dict[str, Any]]:
    """The points without what differs from run to run."""
    points = load_points(folder / "points.csv")
    for point in points:
        for part in (point["train"], point["privacy"], *point["attempts"]):
            for name in [name for name in part if "second" in name]:
                del part[name]
    return points


@pytest.fixture(scope="module")
def finished(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small survey, one point after the other."""
    folder = tmp_path_factory.mktemp("finished")
    finish(command(folder, files))
    return folder


def test_every_point_is_measured_from_files_to_scores(finished: Path) -> None:
    points = load_points(finished / "points.csv")
    assert [point["group"] for point in points] == list(POINTS)
    for point in points:
        assert point["parameters"].items() >= POINTS[point["group"]].items()
        assert point["perturb"]["n_train"] == 60
        assert point["evaluate"]["test_accuracy"] * 20 == pytest.approx(round(point["evaluate"]["test_accuracy"] * 20))
        assert {"L0", "L1"} <= {attempt["level"] for attempt in point["attempts"]}
    scramble = points[1]
    assert scramble["privacy"]["l3_ssim"] == pytest.approx(1)  # with the key
    assert {attempt["level"] for attempt in scramble["attempts"]} == {"L0", "L1", "L2", "L3"}
    assert all("found the key with a confidence of" in problem for problem in scramble["problems"])
    assert len(points_table(points)) == 3
    assert len(attacks_table(points)) == sum(len(point["attempts"]) for point in points)


@pytest.mark.parametrize("scheduler", ["inline", "processes"])
def test_a_killed_survey_goes_on_where_it_stopped(
    scheduler: str, finished: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    rows, words = tmp_path / "points.csv", command(tmp_path, files, scheduler)
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL) as first:
        children = []
        try:
            while not rows.exists() or len(rows.read_text().splitlines()) < 2:
                assert first.poll() is None
                time.sleep(0.005)
            children = psutil.Process(first.pid).children(recursive=True)
        finally:
            first.kill()  # SIGKILL
    assert not psutil.wait_procs(children, SECONDS)[1]
    before = rows.read_text()
    assert 2 <= len(before.splitlines()) <= 3
    finish(words)
    assert set(before.splitlines()) < set(rows.read_text().splitlines())  # the seconds too: none was measured twice
    assert measured(tmp_path) == measured(finished)
    assert not (tmp_path / "scratch").exists()


def test_a_cluster_gives_the_same_points(finished: Path, files: dict[str, Path], tmp_path: Path) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as cluster:
        finish(command(tmp_path, files, cluster.scheduler_address))
    assert measured(tmp_path) == measured(finished)


def test_a_point_that_is_added_is_the_only_one_that_runs(
    finished: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    words = command(tmp_path, files, points={"none": {"method": "none"}, **POINTS})
    (tmp_path / "points.csv").write_bytes((finished / "points.csv").read_bytes())
    finish(words)
    header, new, *others = (tmp_path / "points.csv").read_text().splitlines()
    assert [header, *others] == (finished / "points.csv").read_text().splitlines()
    assert new.startswith("none,")


def test_other_public_images_are_other_points(finished: Path, files: dict[str, Path], tmp_path: Path) -> None:
    """A point is of all files that it was measured with."""
    train = draw(40, SIZE, rng=np.random.default_rng(3))
    write_images(tmp_path / "public.h5", train, train, {"train": np.arange(40)}, PUBLIC)
    one = {"pixelate-4": POINTS["pixelate-4"]}
    words = command(tmp_path / "survey", {**files, "public": tmp_path / "public.h5"}, points=one)
    (tmp_path / "survey" / "points.csv").write_bytes((finished / "points.csv").read_bytes())
    finish(words)
    (row,), (old, *_) = table(tmp_path / "survey" / "points.csv"), table(finished / "points.csv")
    assert list(row) == list(COLUMNS)
    assert row["fingerprint"] != old["fingerprint"]
    assert json.loads(row["evaluate"]) == json.loads(old["evaluate"])
    assert json.loads(row["attempts"]) != json.loads(old["attempts"])
