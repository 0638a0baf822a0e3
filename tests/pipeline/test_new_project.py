"""A new project: its files are this repository's own but for what is of it alone, and nothing is overwritten."""

import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image
from projects import ROOT
from ruamel.yaml import YAML

from privpipe.cli.projects import init
from privpipe.data.listing import BY_SUFFIX, SUFFIXES
from privpipe.errors import PrivpipeError
from privpipe.params import check_params
from privpipe.pipeline import new_project
from privpipe.pipeline.new_project import (
    FILES,
    create,
    few_images_hint,
    first_images_problem,
    own_images,
    parse_setting,
    project_file,
    with_values,
)

ONLY_HERE = ("studies", "survey", "demo", "docs/", "figures/", "bench")


def values(text: str) -> dict[str, dict[str, object]]:
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an installation; here the tests may run from a folder that is none."""
    monkeypatch.setattr(new_project, "find_spec", lambda name: True if name == "privpipe.stages" else find_spec(name))


def draw_images(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / name / f"{i}.png")
    return root


def test_the_pipeline_of_a_project_is_this_one_run_from_the_package() -> None:
    ours, theirs = values((ROOT / "dvc.yaml").read_text()), values(project_file("dvc.yaml"))
    assert theirs["stages"].keys() == ours["stages"].keys()
    for name, stage in ours["stages"].items():
        expected = stage | {"cmd": stage["cmd"].replace("python -m stages.", "python -m privpipe.stages.")}
        assert f"python -m privpipe.stages.{name} " in expected["cmd"]
        if name == "code":
            del expected["deps"]
            expected["always_changed"] = True
        assert theirs["stages"][name] == expected
    assert [plot for plot in theirs["plots"] if plot not in ours["plots"]] == []
    assert len(theirs["plots"]) >= 8


@pytest.mark.parametrize("name", FILES)
def test_nothing_of_this_repository_alone_is_in_a_project(name: str) -> None:
    text = project_file(name)
    assert [word for word in ONLY_HERE if word in text] == []
    assert "privpipe init" not in text
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_ignore_files_keep_all_rules_of_what_commands_write() -> None:
    rules = project_file(".gitignore").splitlines()
    assert {"/data/private/", "*.[pP][nN][gG]", "*.h5", "key*.json", "dvc_plots/"} <= set(rules)
    assert not [rule for rule in rules if rule.startswith("!")]
    assert {".venv", "out", "*.partial"} <= set(project_file(".dvcignore").splitlines())


def test_git_takes_no_file_that_holds_images(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text(project_file(".gitignore"))
    for suffix in {*SUFFIXES, *BY_SUFFIX}:
        (tmp_path / f"Jane Doe{suffix}").write_text("")
        (tmp_path / f"John Doe{suffix.upper()}").write_text("")
    listing = ["git", "ls-files", "--others", "--exclude-standard"]
    assert subprocess.run(listing, cwd=tmp_path, check=True, capture_output=True).stdout == b".gitignore\n"


def test_parameters_change_in_their_place_and_comments_stay() -> None:
    before = project_file("params.yaml")
    changed = {"data.path": "/a b/ü#x: $IMAGES", "key.seed": None, "train.lr": 1e-05, "perturb.k": 8}
    after = with_values(before, changed)
    expected = values(before)
    for name, value in changed.items():
        group, key = name.split(".")
        expected[group][key] = value
    assert values(after) == expected
    differing = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(differing) == len(changed)
    assert "  k: 8                     # filter size (odd) or block size (divides image_size)" in differing
    assert with_values(before, {}) == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("perturb.methd=none", "got 'methd'. Did you mean method?"),
        ("perturbation.k=4", "a parameter must be one of data, key, perturb, model, train, attack; got"),
        ("perturb.k=5", "perturb.k must divide data.image_size=32 for perturb.method=block_scramble; got 5. Use one"),
        ("perturb.k", "a setting must be GROUP.NAME=VALUE, such as perturb.k=8; got 'perturb.k'."),
        ("k=8", "a setting must be GROUP.NAME=VALUE, such as perturb.k=8; got 'k=8'."),
        ("train.lr=[", "the value of train.lr is no valid YAML: '['. Write a number, a word, null or a quoted text."),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_made(setting: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError) as caught:
        list(create(tmp_path / "lab", dict([parse_setting(setting)])))
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("counts", "n_val"),
    [
        ({"a": 20, "b": 40}, 4),
        ({"a": 3, "b": 3, "c": 3}, 3),
        ({"train/a": 20, "train/b": 20, "val/a": 3, "val/b": 5}, 8),
    ],
)
def test_own_images_get_a_real_key_and_a_tenth_to_validate_with(
    counts: dict[str, int], n_val: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_images(tmp_path / "images", counts)
    monkeypatch.chdir(tmp_path)
    chosen = own_images("images")
    assert chosen["data.path"] == str(tmp_path / "images")
    assert chosen["data.n_val"] == n_val
    params = check_params(values(with_values(project_file("params.yaml"), chosen)))
    assert (params.data.source, params.key.seed, params.perturb.scope) == ("folder", None, "image")
    monkeypatch.setenv("IMAGES", str(tmp_path / "images"))
    assert own_images("$IMAGES")["data.path"] == "$IMAGES"


@pytest.mark.parametrize(
    ("counts", "public"),
    [
        ({"a": 1000, "b": 1000}, 0.1),
        ({"a": 100, "b": 100}, 0.29),  # of 200 less 20 and 40, so 41
        ({"a": 10, "b": 10}, 0.3),
        ({"train/a": 100, "train/b": 100, "test/a": 5, "test/b": 5}, 0.23),  # of 200 less 20
    ],
)
def test_few_images_leave_enough_public_ones_for_the_network(
    counts: dict[str, int], public: float, tmp_path: Path
) -> None:
    path = str(draw_images(tmp_path / "images", counts))
    assert own_images(path)["data.public"] == public
    assert ("are few. It may help to train for longer" in few_images_hint(path)) == (public > 0.1)


def test_images_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"data\.path=.*/gone does not exist\. Give the path of a folder with one"):
        own_images(str(tmp_path / "gone"))


def test_some_images_are_tried(tmp_path: Path) -> None:
    root = draw_images(tmp_path / "images", {"a": 5, "b": 5})
    planes = np.random.default_rng(0).integers(0, 4096, (3, 8, 8), np.uint16)
    for path in root.glob("*/*"):
        tifffile.imwrite(path.with_suffix(".tif"), planes, imagej=True, metadata={"axes": "CYX"})
        path.unlink()
    values = own_images(str(root))
    assert "0.tif: has 3 channels, which are no one colour image: set data.channels" in first_images_problem(values)
    values["data.channels"] = [1, 3]
    said = first_images_problem(values)
    assert said.startswith("The images are nearly black: but for outliers, they use less than a quarter of the levels")
    assert "channel 3: 0 to 16" in said and "data.range=set" in said
    assert first_images_problem(values | {"data.range": "set"}) == ""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Images that lie in one folder, 12 of one class and 20 of another by a table in the current folder."""
    draw_images(tmp_path / "images", {"all": 40})
    lines = [f"all/{i}.png,{'ill' if i < 12 else 'well'},p{i // 2}\n" for i in range(32)]
    (tmp_path / "groups.csv").write_text("file,class,group\n" + "".join(lines))
    monkeypatch.chdir(tmp_path)
    return "groups.csv"


def test_a_table_says_the_classes_of_own_images(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = own_images("images", table)
    assert chosen["data.n_val"] == 2  # a tenth of 12, of each class
    assert chosen["data.groups"] == str(tmp_path / table)  # the stages run in the project's folder
    assert few_images_hint("images", table).startswith("32 images to draw all sets from are few.")
    with pytest.raises(PrivpipeError, match="holds only the class 'all'"):
        few_images_hint("images")
    (tmp_path / "images" / "all" / "39.png").write_text("damaged, and not in the table")
    said = first_images_problem(chosen | {"data.image_size": 8})
    assert said.startswith("The images are nearly black")
    (tmp_path / "images" / "all" / "0.png").write_text("damaged")
    assert "0.png: not a PNG, JPEG" in first_images_problem(chosen | {"data.image_size": 8})
    monkeypatch.setenv("TABLE", table)
    assert own_images("images", "$TABLE")["data.groups"] == "$TABLE"
    draw_images(tmp_path / "sorted", {"ill/p1": 2, "well/p1": 2})
    assert own_images("sorted", "folders")["data.groups"] == "folders"


def test_init_takes_a_table(table: str, tmp_path: Path) -> None:
    arguments = ["lab", "--images", "images", "--image-size", "8", "-S", f"data.groups={table}"]
    done = CliRunner().invoke(init, arguments)
    assert done.exit_code == 0, done.output
    written = check_params(values((tmp_path / "lab" / "params.yaml").read_text())).data
    assert (written.groups, written.path) == (str(tmp_path / table), str(tmp_path / "images"))
    assert "32 images to draw all sets from are few." in done.output
    done = CliRunner().invoke(init, ["other", *arguments[1:], "-S", "data.groups=gone.csv"])
    assert isinstance(done.exception, PrivpipeError) and "gone.csv cannot be read: " in str(done.exception)
    assert not (tmp_path / "other").exists()


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_new_folder_becomes_a_project_of_git_and_dvc(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "lab"
    said = list(create(folder, {"perturb.k": 8}))
    assert said == [
        f"git: a new repository in {folder}",
        "files: .dvcignore, .gitignore, README.md, dvc.yaml, out/.gitignore, params.yaml",
        f"dvc: a new project in {folder}, which sends no usage statistics",
    ]
    assert git(folder, "rev-parse", "--show-toplevel").strip() == str(folder.resolve())
    assert (folder / ".dvc" / "config").read_text() == "[core]\n    analytics = false\n"
    for name in FILES:
        expected = with_values(project_file(name), {"perturb.k": 8}) if name == "params.yaml" else project_file(name)
        assert (folder / name).read_text() == expected
    assert "pip install 'privpipe[pipeline]==" in (folder / "README.md").read_text()
    with pytest.raises(PrivpipeError) as caught:
        list(create(folder, {}))
    assert str(caught.value) == (
        f"{folder} has dvc.yaml, params.yaml, .gitignore, .dvcignore, out/.gitignore already, and nothing is "
        "overwritten. Name another folder, or move them away."
    )


def test_a_git_repository_keeps_its_files_and_a_folder_of_one_becomes_a_part_of_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "README.md").write_text("Mine.\n")
    said = list(create(tmp_path, {}))
    assert said[0] == f"git: the repository {tmp_path.resolve()}, which was there"
    assert "README.md" not in said[1]
    assert (tmp_path / "README.md").read_text() == "Mine.\n"
    said = list(create(tmp_path / "second", {}))
    assert said[0] == f"git: the repository {tmp_path.resolve()}, which was there"
    assert not (tmp_path / "second" / ".git").exists()
    assert (tmp_path / "second" / ".dvc" / "config").is_file()


def test_other_folders_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "notes.txt").write_text("mine")
    for folder, message in (
        (tmp_path, "is not empty and in no git repository. Name a new folder, or run `git init` there."),
        (tmp_path / "notes.txt", "is not a folder. Name a new one, or an empty one."),
    ):
        with pytest.raises(PrivpipeError) as caught:
            list(create(folder, {}))
        assert str(caught.value) == f"{folder} {message}"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_git_or_an_installation_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_project.shutil, "which", lambda name: None)
    with pytest.raises(PrivpipeError, match=r"git is not on the path\. Install it"):
        list(create(tmp_path / "lab", {}))
    monkeypatch.setattr(new_project, "find_spec", lambda name: None)
    with pytest.raises(PrivpipeError, match=r"is not installed, .* Run `pip install 'privpipe\[pipeline\]'`"):
        list(create(tmp_path / "lab", {}))
    assert not list(tmp_path.iterdir())


def test_a_dvc_that_fails_is_quoted(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".git" / "info" / "exclude").write_text(".dvc\n")
    with pytest.raises(PrivpipeError, match=r"`dvc init` failed in .*: .*ignored.*\. Repair that, remove what"):
        list(create(tmp_path, {}))
