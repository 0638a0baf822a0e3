"""Folders of images in a clone: refused where git would take what is in them, before any image is read."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from ruamel.yaml import YAML

from privpipe.data.places import given_path, refuse_files, refuse_folder
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from stages.download import main as download

IGNORED = "/data/private/\n*.png\n"


def git(folder: Path, *words: str) -> None:
    names = {f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, env={**os.environ, **names})


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / ".gitignore").write_text(IGNORED)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=start")
    monkeypatch.chdir(folder)
    return folder


def fill(folder: Path, suffix: str = ".jpg") -> Path:
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / f"a{suffix}").write_bytes(b"never read")
    return folder


def refused(call: Callable[[], None]) -> str:
    with pytest.raises(PrivpipeError) as error:
        call()
    return str(error.value)


def test_a_folder_whose_files_git_would_take_is_refused(clone: Path) -> None:
    fill(clone / "images")
    assert refused(lambda: refuse_folder("data.path", Path("images"))) == (
        f"data.path=images lies in the clone {clone.resolve()}, and the next `git add --all` would take "
        "images/cat/a.jpg: originals would be published. Put them outside of the clone, or below data/private/ or "
        "data/raw/, which git ignores (`git check-ignore PATH` tells)."
    )


@pytest.mark.parametrize(("count", "words"), [(3, "0.jpg, 1.jpg, 2.jpg:"), (5, "0.jpg, 1.jpg, 2.jpg and 2 more:")])
def test_the_first_three_of_many_files_are_named(clone: Path, count: int, words: str) -> None:
    for number in range(count):
        (clone / f"{number}.jpg").write_bytes(b"never read")
    said = refused(lambda: refuse_files("data.path", [clone / f"{number}.jpg" for number in range(count)]))
    assert f"would take {words} originals would be published" in said


@pytest.mark.parametrize("place", ["data/private/images", "../elsewhere", "missing"])
def test_a_folder_that_git_ignores_or_that_lies_elsewhere_is_allowed(clone: Path, place: str) -> None:
    if place != "missing":
        fill(clone / place)
        refuse_files("data.path", [Path(place, "cat", "a.jpg")])
    refuse_folder("data.path", Path(place))


def test_images_that_git_ignores_by_their_suffix_are_allowed_until_one_is_tracked(clone: Path) -> None:
    refuse_folder("data.path", fill(clone / "images", ".png"))
    git(clone, "add", "--force", "images")
    assert "would take images/cat/a.png" in refused(lambda: refuse_folder("data.path", clone / "images"))
    assert "would take images/cat/a.png" in refused(
        lambda: refuse_files("data.path", [clone / "images" / "cat" / "a.png"])
    )


@pytest.mark.parametrize(("place", "what"), [(".", "is"), ("..", "contains"), ("../clone", "is"), ("/", "contains")])
def test_the_clone_itself_and_what_contains_it_are_refused(clone: Path, place: str, what: str) -> None:
    message = refused(lambda: refuse_folder("data.path", Path(place)))
    assert message.startswith(f"data.path={Path(place)} {what} the clone {clone.resolve()}: its own figures")


def test_links_are_followed_to_where_the_images_lie(clone: Path, tmp_path: Path) -> None:
    inside = fill(clone / "hidden" / "images")
    outside = tmp_path / "outside"
    outside.symlink_to(inside)
    assert "would take hidden/images/cat/a.jpg" in refused(lambda: refuse_folder("data.path", outside))
    # A class that is a link back into the clone.
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "cat").symlink_to(inside / "cat")
    refuse_folder("data.path", tmp_path / "mixed")
    message = refused(lambda: refuse_files("data.path", [tmp_path / "mixed" / "cat" / "a.jpg"]))
    assert message.startswith(f"files of data.path lie in the clone {clone.resolve()}")
    # A link in the clone to images elsewhere: git takes the link, not the images.
    fill(tmp_path / "elsewhere")
    (clone / "data" / "raw").mkdir(parents=True)
    (clone / "data" / "raw" / "images").symlink_to(tmp_path / "elsewhere")
    refuse_folder("data.path", clone / "data" / "raw" / "images")
    refuse_files("data.path", [clone / "data" / "raw" / "images" / "cat" / "a.jpg"])


def test_other_work_trees_of_the_repository_count(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(clone, "worktree", "add", "--quiet", str(tmp_path / "other"))
    fill(clone / "images")
    monkeypatch.chdir(tmp_path / "other")
    assert "would take images/cat/a.jpg" in refused(lambda: refuse_folder("data.path", clone / "images"))


def test_an_experiment_in_a_temporary_repository_sees_the_clone_around_it(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(clone / "images")
    temporary = clone / ".dvc" / "tmp" / "exps" / "run"
    temporary.mkdir(parents=True)
    git(temporary, "init", "--quiet")
    monkeypatch.chdir(temporary)
    assert "would take images/cat/a.jpg" in refused(lambda: refuse_folder("data.path", clone / "images"))


def test_a_hook_s_variables_do_not_turn_git_to_another_repository(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign").mkdir()
    git(tmp_path / "foreign", "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "foreign" / ".git"))
    fill(clone / "images")
    assert "would take images/cat/a.jpg" in refused(lambda: refuse_folder("data.path", clone / "images"))


def test_without_git_what_lies_in_a_clone_is_refused_and_what_lies_elsewhere_is_not(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refused(lambda: refuse_folder("data.path", fill(clone / "data" / "private" / "images")))
    assert "git cannot say whether it ignores them (No such file or directory)" in message
    refuse_folder("data.path", fill(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    refuse_folder("data.path", clone / "data")  # in nobody's work tree that we work in


def test_names_that_git_would_take_for_patterns_are_names(clone: Path) -> None:
    fill(clone / "a[b]*é\n")
    assert "would take a[b]*é\n/cat/a.jpg" in refused(lambda: refuse_folder("data.path", Path("a[b]*é\n")))


def test_variables_keep_a_path_out_of_the_parameters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGES", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/me")
    assert given_path("data.path", "$IMAGES") == tmp_path
    assert given_path("data.path", "${IMAGES}/moss") == tmp_path / "moss"
    assert given_path("data.path", "~/images") == Path("/home/me/images")
    assert refused(lambda: given_path("data.path", "$NOWHERE/x")) == (
        "data.path=$NOWHERE/x names the environment variable NOWHERE, which is not set. Set it "
        "(`export NOWHERE=/path/to/your/files`), or give the path itself."
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "$odd").mkdir()
    assert given_path("data.path", "$odd") == Path("$odd")


def run_download(folder: Path, **data: object) -> str:
    """What the stage says; it must leave no output where it refuses."""
    yaml = YAML()
    params = yaml.load(Path(__file__).parents[2] / "params.yaml")
    params["data"] |= {"image_size": 8, "n_val": 10, "n_test": 10, **data}
    params["perturb"]["method"], params["model"]["arch"] = "none", "baseline"
    yaml.dump(params, folder / "params.yaml")
    words = ["--folder", "data/raw", "--images", "data/private/images.h5", "--public", "data/public.h5"]
    result = CliRunner().invoke(download, [*words, "--params", str(folder / "params.yaml")])
    made = Path("data/private/images.h5").exists()
    assert made == (result.exit_code == 0), result.output
    return result.output


@pytest.mark.parametrize("name", ["path", "public"])
def test_the_stage_refuses_before_it_reads(clone: Path, tmp_path: Path, name: str) -> None:
    for place in (tmp_path / "good", clone / "images"):
        for i, image in enumerate(draw(40, 8, rng=np.random.default_rng(1)).images):
            path = place / ("ab"[i % 2]) / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (clone / "images" / "a" / "0.jpg").write_bytes(b"damaged: reading it would say so")
    data = {"source": "folder", "path": str(tmp_path / "good"), "public": 0.0, name: str(clone / "images")}
    said = run_download(tmp_path, **data)
    assert re.search(rf"data\.{name}=\S+ lies in the clone", said) and "damaged" not in said
    assert run_download(tmp_path, **{**data, "path": str(tmp_path / "good"), "public": 0.0}) == ""


def test_an_archive_in_the_clone_is_refused(clone: Path, tmp_path: Path) -> None:
    (clone / "archive.bin").write_bytes(b"x")
    said = run_download(tmp_path, source="cifar10", image_size=32, archive="archive.bin", sha256="0" * 64)
    assert "files of data.archive lie in the clone" in said and "would take archive.bin" in said
