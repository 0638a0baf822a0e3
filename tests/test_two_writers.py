"""Links that somebody put in the way, and two runs at once: no writer follows the one or takes the other's file."""

import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from matplotlib.figure import Figure

from privpipe.attacks.records import Record, save_records
from privpipe.cli.png import write_png
from privpipe.errors import PrivpipeError
from privpipe.files import atomic_path, hide_folder, leftovers, write_csv, write_json, write_text
from privpipe.networks.base import Architecture
from privpipe.nn.bundle import Bundle, save_bundle
from privpipe.nn.export import export_file
from privpipe.nn.inference import Normalisation
from privpipe.nn.models import build
from privpipe.owner.key import new_key, write_key
from privpipe.report.figures import save
from privpipe.store import LEAKED, PERTURBED, PUBLIC, RAW, Header, create


def bundle() -> Bundle:
    architecture = Architecture("three_layer", 8, 3, 2)
    model = build(architecture, torch.Generator().manual_seed(0))
    normalise = Normalisation(torch.zeros(3), torch.ones(3))
    return Bundle(model, normalise, architecture, ("a", "b"), "none", 1, "dataset", "uint8", (0.0, 255.0))


def write_store(path: Path, kind: str) -> None:
    header = Header(kind, "none", 1, "dataset", ("a", "b"), (0.0, 255.0), (8, 8, 3), "uint8")
    with create(path, header, {"train": 2, "val": 0, "test": 0}) as writer:
        writer.write("train", 0, np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))


def write_onnx(path: Path) -> None:
    model = path.with_name("model")
    save_bundle(model, bundle())
    export_file(model, path)
    model.unlink()


WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: write_text(path, "x"),
    "json": lambda path: write_json(path, {"x": 1}),
    "csv": lambda path: write_csv(path, ["x"], [[1]]),
    "key": lambda path: write_key(path, new_key(None)),
    "model": lambda path: save_bundle(path, bundle()),
    "onnx": write_onnx,
    "figure": lambda path: save(Figure((1, 1)), path),
    "drawing": lambda path: save(Figure((1, 1)), path, "svg"),
    "png": lambda path: write_png(path, np.zeros((8, 8, 3), np.uint8)),
    "records": lambda path: save_records(path, [Record("L0", "x", 0, 1, 0.1, images=np.zeros((1, 8, 8, 3), np.uint8))]),
    RAW: lambda path: write_store(path, RAW),
    PUBLIC: lambda path: write_store(path, PUBLIC),
    LEAKED: lambda path: write_store(path, LEAKED),
    PERTURBED: lambda path: write_store(path, PERTURBED),
}
PRIVATE = {"key", "records", RAW, PUBLIC, LEAKED}


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_planted_link_is_not_followed(writer: str, tmp_path: Path) -> None:
    """Each writer used `<name>.partial` and wrote through a link of that name into the file behind it."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("file.partial", "file.all.partial", f".file.{os.getpid()}-00000000.partial"):
        (out / name).symlink_to(victim)
    (out / "file").symlink_to(victim)  # an output that is a link, as DVC may make them, is replaced
    WRITERS[writer](out / "file")
    assert victim.read_text() == "precious"
    assert (out / "file").stat().st_size > 0 and not (out / "file").is_symlink()


def test_a_link_under_the_very_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privpipe.files.secrets.token_hex", lambda _: "0" * 8)
    (tmp_path / "victim").write_text("precious")
    (tmp_path / f".file.{os.getpid()}-00000000.partial").symlink_to(tmp_path / "victim")
    with pytest.raises(PrivpipeError, match=r"cannot write .*file: File exists"):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "file").exists()


def test_modes_and_what_is_left(writer: str, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        WRITERS[writer](tmp_path / "new" / "file")
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "new" / "file").stat().st_mode)
    assert mode == (0o600 if writer in PRIVATE else 0o644)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    if writer in PRIVATE:
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_nothing_of_the_process_is_in_the_content(writer: str, tmp_path: Path) -> None:
    WRITERS[writer](tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    assert b".partial" not in content and os.uname().nodename.encode() not in content
    if writer not in ("key", "drawing"):
        WRITERS[writer](tmp_path / "other")
        assert (tmp_path / "other").read_bytes() == content


def write_slowly(path: Path, text: str, gate: object) -> None:
    with atomic_path(path) as partial:
        partial.write_text(text)
        gate.wait(60)  # type: ignore[attr-defined]  # both have their file open now
        assert partial.read_text() == text


def test_two_runs_at_once_both_succeed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(2)
    runs = [context.Process(target=write_slowly, args=(tmp_path / "x", text, gate)) for text in ("one", "two")]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0]
    assert (tmp_path / "x").read_text() in ("one", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def dead_pid() -> int:
    pid = 999_999_999  # above what Linux gives
    assert not psutil.pid_exists(pid)
    return pid


def test_the_next_writer_of_an_output_removes_what_dead_ones_left_of_it_and_nothing_else(tmp_path: Path) -> None:
    dead, alive = dead_pid(), os.getppid()
    names = {f".x.{dead}-0123abcd.partial": False, f"..x.{dead}-0123abcd.partial.{dead}-0123abcd.partial": False}
    names |= {f".x.{alive}-0123abcd.partial": True, f".y.{dead}-0123abcd.partial": True, "x.partial": True}
    for name in names:
        (tmp_path / name).write_text("half")
    write_text(tmp_path / "x", "whole")
    assert {name: (tmp_path / name).exists() for name in names} == names
    assert len(leftovers(tmp_path)) == 2


def test_a_number_that_is_used_again_is_no_writer(tmp_path: Path) -> None:
    left = tmp_path / f".x.{os.getpid()}-0123abcd.partial"
    left.write_text("half")
    began = psutil.Process().create_time()
    os.utime(left, (began - 100, began - 100))
    write_text(tmp_path / "x", "whole")
    assert not left.exists()


def test_a_folder_is_closed_and_made_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    for folder in (tmp_path / "open", tmp_path / "a" / "b"):
        hide_folder(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
