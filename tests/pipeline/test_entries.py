"""Several runs of a method become one record: intervals, the best of the keys, and the suite's size."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t
from small_entry import SIZE, run

from privpipe.attacks.standard import NEWEST
from privpipe.errors import PrivpipeError
from privpipe.nn.statistics import wilson_interval
from privpipe.params import check_params
from privpipe.pipeline.entries import COLUMNS, accuracy, data_of, load_runs, make_entry, params_of, size_of, tasks_of
from privpipe.scores.entry import Entry

GRID = [(key, seed, 0.4 + 0.02 * key + 0.01 * seed) for key in range(3) for seed in range(3)]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("images", "public"):
        (tmp_path / name).write_text(name)
    return tmp_path / "images", tmp_path / "public"


def record(files: tuple[Path, Path], runs: list[dict[str, Any]]) -> Entry:
    return make_entry(runs, *files)


def test_accuracy_of_several_keys_has_students_interval_over_their_means() -> None:
    values = [[0.40, 0.42, 0.44], [0.50, 0.51, 0.52], [0.45, 0.45, 0.45]]
    low, high = t.interval(0.95, 2, 0.46, np.std([0.42, 0.51, 0.45], ddof=1) / 3**0.5)
    assert accuracy(values, 500) == pytest.approx({"mean": 0.46, "low": low, "high": high, "runs": 9})


def test_two_keys_that_gave_the_same_count_twice() -> None:
    low, high = t.interval(0.95, 2, 0.32, np.std([0.30, 0.30, 0.36], ddof=1) / 3**0.5)
    assert accuracy([[0.30], [0.30], [0.36]], 500) == pytest.approx({"mean": 0.32, "low": low, "high": high, "runs": 3})


@pytest.mark.parametrize("keys", [1, 3])
def test_accuracy_of_one_key_or_of_a_method_without_has_students_interval_over_the_seeds(keys: int) -> None:
    low, high = t.interval(0.95, 2, 0.42, 0.02 / 3**0.5)
    measured = accuracy([[0.40, 0.42, 0.44]] * keys, 500)
    assert measured == pytest.approx({"mean": 0.42, "low": low, "high": high, "runs": 3 * keys})


def test_accuracy_of_one_run_has_wilsons_interval() -> None:
    low, high = wilson_interval(210, 500)
    for keys in (1, 3):
        assert accuracy([[0.42]] * keys, 500) == {"mean": 0.42, "low": low, "high": high, "runs": keys}


def test_the_order_in_which_runs_ended_changes_nothing(files: tuple[Path, Path]) -> None:
    runs = [run(*one) for one in GRID]
    assert record(files, runs[::-1]) == record(files, runs)
    same = [run(key, seed, 0.4 + 0.01 * seed) for key, seed in ((0, 1), (0, 0), (0, 2), (1, 2), (1, 0), (1, 1))]
    assert record(files, same).accuracy.low == record(files, same[:3]).accuracy.low


def test_a_record_has_the_range_over_the_keys_and_the_adversarys_best(files: tuple[Path, Path]) -> None:
    made = record(files, [run(*one) for one in GRID])
    assert (made.keys, made.seeds, made.accuracy.runs) == ([0, 1, 2], [0, 1, 2], 9)
    l1 = made.privacy["l1_ssim"]
    assert (l1.mean, l1.low, l1.high, l1.runs) == (pytest.approx(0.21), 0.2, pytest.approx(0.22), 3)
    assert not [name for name in made.privacy if name.startswith("identified_") or name.endswith("_attack")]
    assert made.identified.exactly == 0.5 and made.identified.at_least == 0.5 and made.identified.at_most is None
    assert made.identified.why == {"at_most": "no noise"}
    assert len(made.attempts) == 3 and {attempt["run"] for attempt in made.attempts} == {0, 1, 2}
    assert made.problems == ["other at L1: too few images"] and made.flags == ["network: it was still learning."]
    assert (made.cost.owner_seconds, made.cost.cloud_seconds, made.cost.bytes) == (2.0, 20.0, 3000)
    assert made.budget.network_steps == SIZE.network_steps and made.budget.public == 1000
    assert made.images.digest != made.images.public_digest
    assert made.scheme.package.startswith("privpipe ")
    assert (made.suite.title, made.suite.size) == (NEWEST.title, "custom")  # smoke has one key and one seed


def test_a_further_attack_is_named_and_is_none_of_the_suites(files: tuple[Path, Path]) -> None:
    one = run()
    assert record(files, [one]).suite.title == NEWEST.title
    one["attacked"]["attacks"] = ["as_is", "mine"]
    assert record(files, [one]).suite.title == f"{NEWEST.title} + mine"


def test_images_of_others_are_not_shown(files: tuple[Path, Path]) -> None:
    one = run()
    assert record(files, [one]).figure is not None
    one["params"]["data"] |= {"source": "folder", "path": "images"}
    assert record(files, [one]).figure is None


@pytest.mark.parametrize("name", NEWEST.sizes)
@pytest.mark.parametrize("source", ["cifar10", "synthetic"])
def test_runs_are_of_the_size_that_they_were_made_for(name: str, source: str) -> None:
    size = NEWEST.sizes[name]
    settings = {"method": "pixelate", "k": 4, "scope": "dataset", "sigma": 0.0}
    runs = [
        task.params
        for task in tasks_of("", params_of(size, data_of(size, source), settings, "baseline", "paper"), size)
    ]
    assert len(runs) == size.keys * size.seeds
    assert size_of(runs) == name
    values = runs[-1].model_dump()
    values["attack"]["pairs"] -= 1
    assert size_of([*runs[:-1], check_params(values)]) == "custom"


def test_runs_are_read_by_group(tmp_path: Path) -> None:
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        rows = [("a", json.dumps(run(seed=seed)), "c" * 16, "f" * 16) for seed in (0, 1)]
        rows.append(("b", json.dumps(run()), "d" * 16, "f" * 16))
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    groups = load_runs(tmp_path / "runs.csv")
    assert {name: len(runs) for name, runs in groups.items()} == {"a": 2, "b": 1}
    assert groups["a"][1] == run(seed=1)
    assert groups["b"] == [run() | {"code": "d" * 16}]
    with pytest.raises(PrivpipeError, match=r"other\.csv holds no runs"):
        load_runs(tmp_path / "other.csv")
