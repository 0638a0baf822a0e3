"""Where raw images lie: folders and DVC's cache are closed to others, and what belongs to others is left alone."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from ruamel.yaml import YAML
from small_experiment import write_params

from privpipe.data.synthetic import draw
from privpipe.parameters import Perturb
from privpipe.pipeline import doctor
from privpipe.pipeline.project import find_project, hide_raw_images, readable_by_others
from stages import download, leak


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose folders are open, under the usual umask."""
    before = os.umask(0o022)
    folder = tmp_path / "clone"
    for name in (".dvc/cache", "data/private", "elsewhere/.dvc/cache"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    os.umask(before)
    return folder


def test_folders_of_the_project_and_its_own_cache_are_closed(root: Path) -> None:
    hide_raw_images(Path("data/private"), Path("data/raw"))
    for name in ("data/private", "data/raw", ".dvc/cache"):
        assert mode(root / name) == 0o700 and not readable_by_others(root / name)
    assert mode(root / "data") == 0o755


def test_what_lies_outside_of_the_current_folder_is_left_as_it_is(root: Path) -> None:
    other = root.parent / "other"
    other.mkdir(mode=0o755)
    hide_raw_images(other, Path(), Path(".."))
    assert mode(other) == mode(root) == 0o755


@pytest.mark.parametrize(
    ("config", "cache", "closed"),
    [
        ("", ".dvc/cache", True),
        ("[cache]\n    dir = ../elsewhere/.dvc/cache\n", "elsewhere/.dvc/cache", True),  # as in a temporary experiment
        ("[cache]\n    dir = ../data\n", "data", False),
        ("[cache]\n    shared = group\n", ".dvc/cache", False),
        (
            "[core]\n    analytics = false\n['remote \"x\"']\n    url = /x\n[cache]\n    type = copy\n",
            ".dvc/cache",
            True,
        ),
        ("no configuration", ".dvc/cache", True),
    ],
)
def test_only_a_cache_that_is_nobody_elses_is_closed(root: Path, config: str, cache: str, closed: bool) -> None:
    (root / ".dvc" / "config.local").write_text(config)
    found = find_project(root / "data" / "private")
    assert found is not None and (found.root, found.cache) == (root, root / cache)
    hide_raw_images()
    assert mode(root / cache) == (0o700 if closed else 0o755)


def test_there_may_be_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_project() is None
    hide_raw_images(Path("private"))
    assert mode(tmp_path / "private") == 0o700


def test_the_stages_close_what_they_fill(root: Path) -> None:
    write_params(root / "params.yaml", Perturb(method="none", k=1, scope="dataset", sigma=0.0))
    before = os.umask(0o022)
    try:
        images = ["--images", "data/private/images.h5"]
        done = CliRunner().invoke(download.main, ["--folder", "data/raw", *images, "--public", "data/public.h5"])
        assert done.exit_code == 0, done.output
        (root / "data/private").chmod(0o755)
        done = CliRunner().invoke(leak.main, [*images, "--leaked", "data/private/leaked.h5"])
        assert done.exit_code == 0, done.output
    finally:
        os.umask(before)
    for name in ("data/private", "data/raw", ".dvc/cache"):
        assert mode(root / name) == 0o700
    for name in ("data/private/images.h5", "data/private/leaked.h5", "data/public.h5"):
        assert mode(root / name) == 0o600


@pytest.mark.parametrize(("public", "closed"), [(0.2, True), (0.0, False), ("others", False)])
def test_public_images_of_the_owner_s_folder_are_closed_too(
    root: Path, monkeypatch: pytest.MonkeyPatch, public: float | str, closed: bool
) -> None:
    images = draw(80, 8, rng=np.random.default_rng(0)).images
    for i, image in enumerate(images):
        path = root.parent / ("mine", "others")[i % 2] / "ab"[i // 2 % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    params = YAML().load(Path(__file__).parents[2] / "params.yaml")
    params["data"] |= {"source": "folder", "path": str(root.parent / "mine"), "image_size": 8, "n_train": None}
    given = str(root.parent / public) if isinstance(public, str) else public
    params["data"] |= {"n_val": 4, "n_test": 4, "public": given}
    params["perturb"]["method"], params["model"]["arch"] = "none", "baseline"
    before = os.umask(0o022)
    try:
        YAML().dump(params, root / "params.yaml")
        files = ["--images", "data/private/images.h5", "--public", "data/public.h5"]
        done = CliRunner().invoke(download.main, ["--folder", "data/raw", *files])
        assert done.exit_code == 0, done.output
    finally:
        os.umask(before)
    assert mode(root / "data") == (0o700 if closed else 0o755)
    (root / "data").chmod(0o755)
    project = find_project(root)
    assert project is not None
    monkeypatch.setattr(doctor, "at_work", lambda project: [])  # other tests may run DVC beside this one
    found = [problem for problem in doctor.examine(project) if problem.what.startswith(f"{root / 'data'} can be read")]
    assert len(found) == closed
    for problem in found:
        assert "as data.public is a fraction of them" in problem.meaning and problem.fix is not None
        problem.fix()
        assert mode(root / "data") == 0o700
