"""Images of a folder in one file: what cannot be read, the same bytes every time, bounded memory."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from drawn import SIZE, bring, content, draw, make

from privpipe.data import folder_file
from privpipe.data.folder import scan
from privpipe.data.folder_file import measure_limits, write_folder
from privpipe.data.image_files import read_image
from privpipe.errors import PrivpipeError
from privpipe.owner.key import new_key, write_key
from privpipe.reading import Reading
from privpipe.store import RAW, SPLITS, open_store


def test_the_same_images_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the folder is called, the order it is listed in, the number of threads and the size of pieces."""
    counts = {"dog": 12, "cat": 9, "sub/deep": 5}
    one = bring(make(tmp_path / "one", counts), tmp_path / "one.h5", threads=1).read_bytes()
    backwards = make(tmp_path / "other" / "place", dict(reversed(counts.items())))
    scandir = os.scandir
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", lambda path: ListedBackwards(scandir(path)))
        patched.setattr(folder_file, "MAX_CHUNK", 3)
        assert bring(backwards, tmp_path / "two.h5", threads=7).read_bytes() == one
    (tmp_path / "one" / "cat" / "0.png").write_bytes((tmp_path / "one" / "cat" / "3.png").read_bytes())
    assert bring(tmp_path / "one", tmp_path / "three.h5").read_bytes() != one


class ListedBackwards:
    """What os.scandir gives, in another order."""

    def __init__(self, entries: Any):
        self.entries = list(entries)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if not self.entries:
            raise StopIteration
        return self.entries.pop()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A folder of 40 images of which 3 cannot be read."""
    root = make(tmp_path / "images", {"a": 20, "b": 20})
    (root / "a" / "0.png").write_bytes(b"")
    (root / "a" / "1.bmp").write_bytes((root / "a" / "4.bmp").read_bytes()[:-20])
    (root / "b" / "2.tif").write_text("not an image")
    return root


REASONS = [("a/0.png", "the file is empty"), ("a/1.bmp", "cut short or damaged"), ("b/2.tif", "not a PNG, JPEG, BMP")]


def test_unreadable_images_stop_and_are_all_listed(tmp_path: Path, damaged: Path) -> None:
    with pytest.raises(PrivpipeError) as caught:
        bring(damaged, tmp_path / "out" / "images.h5")
    first, *lines, last = str(caught.value).splitlines()
    assert first == "3 of 40 images cannot be read, and nothing was written:"
    assert last == "Repair or remove them, or set data.on_error=skip to leave them out."
    for line, (name, reason) in zip(lines, REASONS, strict=True):
        assert line.startswith(f"  {damaged / name}: {reason}")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_older_file_stays_when_images_cannot_be_read(tmp_path: Path, damaged: Path) -> None:
    (tmp_path / "images.h5").write_text("old")
    with pytest.raises(PrivpipeError, match="3 of 40 images"):
        bring(damaged, tmp_path / "images.h5")
    assert (tmp_path / "images.h5").read_text() == "old"


def test_a_long_list_ends_in_a_count(tmp_path: Path) -> None:
    root = make(tmp_path / "images", {"a": 30, "b": 5})
    for path in (root / "a").iterdir():
        path.write_bytes(b"")
    with pytest.raises(PrivpipeError) as caught:
        bring(root, tmp_path / "images.h5")
    lines = str(caught.value).splitlines()
    assert (lines[0], len(lines)) == ("30 of 35 images cannot be read, and nothing was written:", 23)
    assert lines[-2] == "  and 10 more"


def test_one_reason_for_all_images_is_said_once(tmp_path: Path) -> None:
    root = make(tmp_path / "images", {"a": 20, "b": 20})
    for path in root.glob("*/*"):
        tifffile.imwrite(path, np.zeros((3, 8, 8), "u2"), imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(PrivpipeError) as caught:
        bring(root, tmp_path / "images.h5")
    first, second = str(caught.value).splitlines()
    assert first == "not one image can be read, all for the same reason, and nothing was written:"
    assert second.startswith(f"  {min(root.glob('*/*'))}: has 3 channels") and "set data.channels to" in second


@pytest.mark.parametrize("chunk", [1, 3, 1024])
def test_unreadable_images_are_left_out(
    tmp_path: Path, damaged: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """The others come as they would have come."""
    sound = make(tmp_path / "sound", {"a": 20, "b": 20})
    without = content(bring(sound, tmp_path / "sound.h5"), sound)
    bad = {name for name, _ in REASONS}
    expected = {split: [row for row in rows if row[1] not in bad] for split, rows in without.items()}
    monkeypatch.setattr(folder_file, "MAX_CHUNK", chunk)
    monkeypatch.setattr("privpipe.store.CHUNK_BYTES", chunk * SIZE * SIZE * 3)
    caplog.set_level(logging.WARNING)
    target = bring(damaged, tmp_path / "out" / "images.h5", skip=True)
    assert content(target, sound) == expected
    for message, (name, reason) in zip(caplog.messages, REASONS, strict=False):
        assert message.startswith(f"left out: {damaged / name}: {reason}")
    assert caplog.messages[3:] == ["3 of 40 images were left out"]
    assert list(target.parent.iterdir()) == [target]


def test_a_file_without_its_bad_images_is_as_if_made_without_them(tmp_path: Path, damaged: Path) -> None:
    """Its layout too: no space is left where they were."""
    target = bring(damaged, tmp_path / "images.h5", skip=True)
    with h5py.File(target) as file:
        assert sum(len(file[split]["images"]) for split in SPLITS) == 37
        assert all(len(file[split]["images"]) == len(file[split]["labels"]) for split in SPLITS)
    assert target.stat().st_size < 37 * (SIZE * SIZE * 3 + 8) + 8192


def test_skipping_must_leave_every_class_and_split(tmp_path: Path) -> None:
    root = make(tmp_path / "images", {"a": 20, "b": 20})
    for path in (root / "b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(PrivpipeError, match=r"^not one training image of the class 'b' can be read\. See the reaso"):
        bring(root, tmp_path / "images.h5", skip=True)
    for path in (root / "a").iterdir():
        path.write_bytes(b"")
    with pytest.raises(PrivpipeError, match=r"^not one image of the train set can be read\. See the reasons above"):
        bring(root, tmp_path / "images.h5", skip=True)
    assert not list(tmp_path.glob("images.h5*"))


def test_an_image_that_vanishes_while_others_are_read(tmp_path: Path) -> None:
    index = scan(make(tmp_path / "images", {"a": 10, "b": 10}))
    rows = draw(index, None, 4, 4)
    index.paths[3].unlink()
    with pytest.raises(PrivpipeError, match=r"1 of 20 images .*\n  .*: cannot be read: no such file or directory\n"):
        write_folder(tmp_path / "images.h5", index, rows, SIZE)


COMPOSITE = Reading(channels=("composite",), range="set")


def channels(root: Path, counts: dict[str, int]) -> Path:
    """Two classes with one file of so many channels of 12 bits for each name."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for file, count in counts.items():
            planes = rng.integers(0, 4096, (count, SIZE, SIZE), np.uint16) // np.arange(1, count + 1)[:, None, None]
            meta = {"axes": "CYX"} if count > 1 else None
            tifffile.imwrite(root / name / file, planes.squeeze().astype("u2"), imagej=True, metadata=meta)
    return root


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_composite_is_read_again_by_what_the_header_says(tmp_path: Path, count: int) -> None:
    root = channels(tmp_path / "images", {f"{i}.tif": count for i in range(4)})
    index, rows = scan(root), np.arange(6)
    reading = measure_limits(index, rows, SIZE, COMPOSITE)
    write_folder(tmp_path / "images.h5", index, {"train": rows, "val": np.array([6, 7])}, SIZE, reading=reading)
    planes = np.stack([tifffile.imread(index.paths[row]).reshape(count, SIZE, SIZE) for row in rows]).astype(float)
    low, high = np.percentile(planes, [0.1, 99.9], axis=(0, 2, 3))
    levels = 255 * (planes - low[:, None, None]) / (high - low)[:, None, None]
    # ImageJ's colours are red, green, blue and grey; one channel alone is grey.
    colours = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])[:count] if count > 1 else np.ones((1, 3))
    expected = np.einsum("nchw,ck->nhwk", levels.clip(0, 255), colours).clip(0, 255)
    with open_store(tmp_path / "images.h5", RAW) as store:
        written, again = store.images("train"), Reading.parse(store.header.reading)
    assert np.abs(written - expected).max() <= 2  # of four channels rounded, and limits of six digits
    assert len(again.limits) == count
    assert all(np.array_equal(read_image(index.paths[row], SIZE, again), written[row]) for row in rows)


def test_a_grey_composite_of_an_earlier_version_is_still_read(tmp_path: Path) -> None:
    """It noted the one pair of limits three times."""
    path = channels(tmp_path / "images", {"0.tif": 1}) / "a" / "0.tif"
    one, three = (Reading(("composite",), range="set", limits=((10.0, 4000.0),) * n) for n in (1, 3))
    assert np.array_equal(read_image(path, SIZE, Reading.parse(three.describe())), read_image(path, SIZE, one))


def test_composites_of_different_channels_have_no_black_and_white_in_common(tmp_path: Path) -> None:
    index = scan(channels(tmp_path / "images", {"0.tif": 2, "1.tif": 3}))
    with pytest.raises(PrivpipeError, match=r"^images of 2 and of 3 channels have no black and white in common; "):
        measure_limits(index, np.arange(4), SIZE, COMPOSITE)
    reading = measure_limits(index, np.array([0, 2]), SIZE, COMPOSITE)
    with pytest.raises(PrivpipeError, match=r"1\.tif: has 3 channels, and black and white were measured for 2; leave"):
        read_image(index.paths[1], SIZE, reading)
    named = Reading(channels=("1", "2"), range="set")
    assert len(measure_limits(index, np.arange(4), SIZE, named).limits) == 2


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from privpipe.data.folder import scan
from privpipe.data.folder_file import write_folder
from privpipe.data.folder_split import split_folder
index = scan(Path(sys.argv[1]))
rows = split_folder(index, None, 2, 2, np.random.default_rng(0))
write_folder(sys.argv[2], index, rows, 128)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_memory(root: Path, target: Path) -> float:
    """MiB at most while 128x128 images are read, in a process of its own."""
    command = [sys.executable, "-c", PEAK, str(root), str(target)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    root = make(tmp_path / "images", {"a": 1, "b": 1}, suffixes=("png",))
    for count in (400, 3000):  # both more than a chunk of 341; 3000 would take 140 MiB
        for name in ("a", "b"):
            for i in range(count // 2):
                if not (root / name / f"{i}.png").exists():
                    os.link(root / name / "0.png", root / name / f"{i}.png")
        if count == 400:
            few = peak_memory(root, tmp_path / "images.h5")
    assert peak_memory(root, tmp_path / "images.h5") < few + 30


Run = Callable[..., Any]


@pytest.fixture
def run_stage(tmp_path: Path) -> Run:
    """Run a stage on a parameter file with these changes."""
    from click.testing import CliRunner
    from ruamel.yaml import YAML

    def run(stage: Any, *arguments: str, **changes: Any) -> Any:
        yaml = YAML()
        params = yaml.load(Path(__file__).parents[2] / "params.yaml")
        for place, value in changes.items():
            group, name = place.split("__")
            params[group][name] = value
        yaml.dump(params, tmp_path / "params.yaml")
        return CliRunner().invoke(stage, [*arguments, "--params", str(tmp_path / "params.yaml")])

    return run


def test_the_stages_read_a_folder_and_warn_of_a_research_key(tmp_path: Path, run_stage: Run, damaged: Path) -> None:
    from stages.download import main as download
    from stages.perturb import main as perturb

    images, key = tmp_path / "images.h5", tmp_path / "key.json"
    settings = {"data__source": "folder", "data__path": str(damaged), "data__image_size": SIZE, "data__n_val": 6}
    settings["data__public"] = 0
    arguments = ["--folder", str(tmp_path / "raw"), "--images", str(images), "--public", str(tmp_path / "public.h5")]
    result = run_stage(download, *arguments, **settings)
    assert result.exit_code == 1 and "3 of 40 images cannot be read" in result.output
    result = run_stage(download, *arguments, **settings, data__on_error="skip")
    assert result.exit_code == 0, result.output
    with open_store(images, RAW) as store:
        assert sum(store.counts.values()) == 37
    arguments = ["--images", str(images), "--key", str(key)]
    arguments += ["--perturbed", str(tmp_path / "perturbed.h5"), "--metrics", str(tmp_path / "perturb.json")]
    arguments += ["--public", str(tmp_path / "public.h5"), "--queries", str(tmp_path / "queries.h5")]
    for seed, source, warned in [(0, "folder", True), (0, "synthetic", False), (None, "folder", False)]:
        key.unlink(missing_ok=True)
        write_key(key, new_key(seed))
        result = run_stage(perturb, *arguments, **settings | {"data__source": source, "data__n_val": 10})
        assert result.exit_code == 0, result.output
        assert ("they are NOT protected. Set key.seed=null" in result.stderr) == warned


def test_the_stage_gives_the_same_bytes_again(tmp_path: Path, run_stage: Run) -> None:
    from stages.download import main as download

    settings = {"data__source": "folder", "data__image_size": SIZE, "data__n_val": 4}
    found = []
    for name in ("one", "two"):
        root = make(tmp_path / name, {"a": 10, "b": 10})
        arguments = ["--folder", str(tmp_path / "raw"), "--images", str(tmp_path / f"{name}.h5")]
        arguments += ["--public", str(tmp_path / "public.h5")]
        assert run_stage(download, *arguments, **settings, data__path=str(root)).exit_code == 0
        found.append((tmp_path / f"{name}.h5").read_bytes())
        shutil.rmtree(root)
    assert found[0] == found[1]
