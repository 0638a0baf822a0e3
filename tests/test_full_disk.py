"""A full disk: space is asked for first, every writer says so without half a file, and a finished result is kept."""

import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from disks import TINY, fill, largest_file, tiny_disk
from small_experiment import Experiment
from test_two_writers import LEAKED, PERTURBED, PUBLIC, RAW, WRITERS, write_store

from privpipe import store
from privpipe.attacks.base import AdversaryView
from privpipe.attacks.registry import attacks
from privpipe.attacks.suite import suite
from privpipe.errors import WriteError
from privpipe.files import need_space, write_json, write_or_keep, write_text
from privpipe.nn import train_job
from privpipe.nn.bundle import model_bytes, save_bundle
from privpipe.nn.engine import Recipe
from privpipe.scores import reference_classifier as reference_classifier
from privpipe.store import Header, create

LONG: dict[str, Callable[[Path], None]] = {**WRITERS, "text": lambda path: write_text(path, "x" * 5000)}
# ONNX is exported from a model file, which its writer makes beside it.
LONG = {name: write for name, write in LONG.items() if name not in ("onnx", "json", "csv")}


@pytest.fixture
def no_space_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "need_space", lambda path, size: None)


@pytest.mark.usefixtures("no_space_is_asked")
@pytest.mark.parametrize(
    ("writer", "leave"),
    [*((name, 0) for name in LONG), *((name, 4096) for name in ("text", "model", RAW, PUBLIC, LEAKED, PERTURBED))],
)
def test_every_writer_on_a_full_disk_of_60_kilobytes(writer: str, leave: int, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        filler = fill(disk, leave)
        with pytest.raises(WriteError, match=r"^no space left while writing .*file; nothing was changed\. Free some"):
            LONG[writer](disk / "file")
        assert list(disk.iterdir()) == [filler]


@pytest.mark.usefixtures("no_space_is_asked")
@pytest.mark.parametrize("writer", LONG)
def test_every_writer_under_a_limit_to_the_size_of_files(writer: str, tmp_path: Path) -> None:
    with largest_file(60), pytest.raises(WriteError, match=r"^no space left while writing "):
        LONG[writer](tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_space_is_asked_for_before_a_file_of_images_is_begun(tmp_path: Path) -> None:
    header = Header(PERTURBED, "none", 1, "dataset", ("a",), (0.0, 255.0), (32, 32, 3), "uint8")
    with tiny_disk(tmp_path / "disk") as disk:
        write_store(disk / "small.h5", RAW)
        message = (
            r"^.*x\.h5 needs 324,385 bytes, and its disk has [0-9,]+ free; nothing was begun\. Free some space and"
        )
        with (
            pytest.raises(WriteError, match=message),
            create(disk / "x.h5", header, {"train": 100, "val": 0, "test": 0}),
        ):
            raise AssertionError("the work has begun")
        assert [path.name for path in disk.iterdir()] == ["small.h5"]


def test_what_is_asked_for_is_what_a_file_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(store, "need_space", lambda path, size: asked.append(size))
    header = Header(PERTURBED, "none", 1, "dataset", ("a", "é"), (0.0, 255.0), (32, 32, 3), "float16")
    counts = {"train": 30, "val": 20, "test": 10}
    with create(tmp_path / "x.h5", header, counts) as writer:
        for split, count in counts.items():
            writer.write(split, 0, np.zeros((count, 32, 32, 3), np.float16), np.zeros(count, np.int64))
    size = (tmp_path / "x.h5").stat().st_size
    assert size <= asked[0] <= size + store.METADATA_BYTES


def test_space_is_asked_of_the_disk_on_which_a_folder_will_be_made(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        need_space(disk / "a" / "b" / "x", TINY // 2)
        with pytest.raises(WriteError, match="needs 1,000,000 bytes"):
            need_space(disk / "a" / "b" / "x", 1_000_000)


def test_a_result_that_cannot_be_written_is_kept_and_the_message_puts_it_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tmp", "project"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "project")
    outputs = {
        "disk/model": lambda path: write_text(path, "m" * 5000),
        "metrics.json": lambda path: write_json(path, {}),
        "times/metrics.json": lambda path: write_json(path, {"seconds": 1}),
    }
    with tiny_disk(tmp_path / "project" / "disk") as disk:
        filler = fill(disk)
        with pytest.raises(WriteError) as caught:
            write_or_keep("train", outputs)
        (kept,) = (tmp_path / "tmp").iterdir()
        assert sorted(path.name for path in kept.iterdir()) == ["disk-model", "metrics.json", "times-metrics.json"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in kept.iterdir()} == {0o600}
        assert stat.S_IMODE(kept.stat().st_mode) == 0o700
        message = str(caught.value)
        assert message.startswith("no space left while writing disk/model; ")
        commands = re.findall("^  (.*)$", message, re.MULTILINE)
        assert commands[-2:] == ["dvc commit --force train", "dvc repro"]
        filler.unlink()
        for command in commands[:-2]:
            assert os.system(command) == 0
        assert not kept.exists() and (disk / "model").read_text() == "m" * 5000
        assert Path("metrics.json").read_text() == "{}\n" and "seconds" in Path("times/metrics.json").read_text()


def test_a_result_that_fits_nowhere_is_said_to_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    message = r"^no space left while writing .* The result could not be kept in .*tmp either\.$"
    with largest_file(60), pytest.raises(WriteError, match=message):
        write_or_keep("train", {str(tmp_path / "x"): lambda path: write_text(path, "x" * 5000)})
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]


def test_space_for_a_model_is_asked_for_before_the_training(
    experiment: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = experiment("none")

    def began(*_: object) -> None:
        raise AssertionError("the training has begun")

    monkeypatch.setattr(train_job, "train", began)
    monkeypatch.setattr(reference_classifier, "train", began)
    perturbed, raw = made.folder / "perturbed.h5", made.folder / "images.h5"
    with tiny_disk(tmp_path / "disk") as disk:
        message = r"model needs [0-9,]+ bytes, and its disk has [0-9,]+ free; nothing was begun"
        with pytest.raises(WriteError, match=message):
            train_job.train_file(perturbed, "baseline", Recipe(1, 8, 0.001, 0.0, 0), "cpu", 1, target=disk / "model")
        with pytest.raises(WriteError, match=message):
            reference_classifier.train_reference_classifier(raw, 1, 0, "cpu", 1, disk / "model")
    save_bundle(tmp_path / "m", made.bundle)
    assert (tmp_path / "m").stat().st_size <= model_bytes(made.bundle.model) <= (tmp_path / "m").stat().st_size + 65536


def test_space_for_reconstructions_is_asked_for_before_the_attacks(tmp_path: Path) -> None:
    images = np.zeros((100, 32, 32, 3), np.uint8)
    view = AdversaryView("none", 1, "dataset", 0.0, images, images)
    with tiny_disk(tmp_path / "disk") as disk, pytest.raises(WriteError, match=r"r\.h5 needs [0-9,]+ bytes"):
        suite(view, attacks(0, 0, 1, "cpu"), target=disk / "r.h5")
