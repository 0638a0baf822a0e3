"""A real key through DVC's ways to run an experiment: one key, reached by all of them, held by none."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from projects import Project, copy_project, environment, set_params
from ruamel.yaml import YAML

pytestmark = pytest.mark.pipeline

TINY = {"key.seed": None, "data.n_train": 40, "data.n_val": 10, "data.n_test": 20, "model.arch": "baseline"}
STAGES = ("code", "keygen", "download", "perturb", "train")
KEY = "data/private/key.json"


def ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def held(folder: Path) -> list[bytes]:
    """Every file below a folder, and every object of its git repository, decompressed."""
    dump = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch"], cwd=folder, capture_output=True, check=True
    )
    return [dump.stdout, *(path.read_bytes() for path in folder.rglob("*") if path.is_file())]


def experiments(project: Project) -> dict[str, dict[str, object]]:
    """By name: k and the fingerprint of each experiment that ran."""
    rows = [row for branch in project.json("exp", "show", "--json") for row in branch.get("experiments") or []]
    found = {}
    for row in rows:
        data = row["revs"][0]["data"]
        metrics, params = data["metrics"]["metrics/perturb.json"]["data"], data["params"]["params.yaml"]["data"]
        found[row["name"]] = {
            "k": params["perturb"]["k"],
            "key": metrics["key_fingerprint"],
        }
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("owner-home") / "keys"


@pytest.fixture(scope="module", autouse=True)
def use_home(home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIVPIPE_KEYS", str(home))
        yield


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a real key whose first runs are two queued experiments side by side, before any key was made."""
    folder = tmp_path_factory.mktemp("owner")
    project = copy_project(folder)
    # `exp apply` fails where an output was never made, so stages that are not run here are left out.
    yaml = YAML()
    declared = yaml.load(folder / "dvc.yaml")
    yaml.dump({"stages": {name: declared["stages"][name] for name in STAGES}}, folder / "dvc.yaml")
    (folder / "dvc.lock").unlink()
    set_params(project, TINY)
    project.commit("real key")
    project.dvc("exp", "run", "--queue", "-S", "perturb.k=4,8", "train")
    project.dvc("exp", "run", "--run-all", "--jobs", "2")
    return project


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("image") / "x.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    return str(path)


@pytest.fixture(scope="module")
def applied(owner: Project, image: str) -> dict[object, object]:
    """The key of each of the two experiments by k; each is applied and predicts, and the last one is committed."""
    keys = {}
    for name, about in experiments(owner).items():
        owner.dvc("exp", "apply", name)
        owner.run("privpipe", "predict", "--key", KEY, "--json", image)
        assert about["key"] == json.loads(owner.read(KEY))["fingerprint"]
        keys[about["k"]] = about["key"]
    owner.commit("applied")
    return keys


def test_a_queue_side_by_side_has_one_key_and_each_result_predicts(home: Path, applied: dict[object, object]) -> None:
    assert set(applied) == {4, 8}
    assert [path.stem for path in home.glob("*.json")] == list(set(applied.values()))


@pytest.mark.usefixtures("applied")
def test_a_sweep_of_the_learning_rate_perturbs_nothing_again(owner: Project, tmp_path: Path) -> None:
    assert ran(owner.dvc("exp", "run", "--temp", "-S", "train.lr=0.003", "train")) == ["train"]
    owner.dvc("exp", "run", "--queue", "-S", "train.lr=0.004", "train")
    assert ran(owner.dvc("exp", "run", "--run-all")) == ["train"]
    shutil.copytree(owner.folder, tmp_path / "copy", symlinks=True)
    workspace = Project(tmp_path / "copy")
    assert ran(workspace.dvc("exp", "run", "-S", "train.lr=0.005", "train")) == ["train"]
    assert workspace.secret() == owner.secret()
    assert len({about["key"] for about in experiments(owner).values()}) == 1


@pytest.mark.usefixtures("applied")
def test_worktrees_and_clones_have_the_key_and_those_without_the_secret_make_none(
    owner: Project, tmp_path: Path, home: Path
) -> None:
    owner.run("git", "worktree", "add", "--quiet", str(tmp_path / "tree"), "HEAD")
    subprocess.run(["git", "clone", "--quiet", owner.folder, tmp_path / "clone"], check=True, env=environment())
    before = sorted(home.rglob("*.json"))
    for name in ("tree", "clone"):
        other = Project(tmp_path / name)
        other.dvc("repro", "keygen")
        assert other.read(KEY) == owner.read(KEY)
        assert "up to date" in other.dvc("status", "keygen")
    assert [path for path in sorted(home.glob("*.json")) if path not in before] == []
    shutil.rmtree(tmp_path / "clone/data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIVPIPE_KEYS", str(tmp_path / "empty"))
        out = Project(tmp_path / "clone").dvc("repro", "keygen", ok=False)
    assert "is not on this machine" in out and "privpipe key import FILE" in out and "Traceback" not in out
    assert not (tmp_path / "clone" / KEY).exists() and not list((tmp_path / "empty").rglob("*.json"))
    owner.run("git", "worktree", "remove", "--force", str(tmp_path / "tree"))


@pytest.mark.usefixtures("applied")
def test_a_dry_run_does_not_fail_on_the_key(owner: Project) -> None:
    """Without --allow-missing DVC 3.67.1 fails on every cached output: a dry run happens in an empty copy."""
    out = owner.dvc("exp", "run", "--dry", "--allow-missing", "train")
    assert "Stage 'train' didn't change" in out


@pytest.mark.usefixtures("applied")
def test_a_research_key_comes_back_with_its_experiment(owner: Project, tmp_path: Path, image: str) -> None:
    owner.dvc("exp", "run", "--temp", "--name", "research", "-S", "key.seed=5", "train")
    before = owner.read(KEY)
    shutil.copytree(owner.folder, tmp_path / "copy", symlinks=True)
    copy = Project(tmp_path / "copy")
    copy.dvc("exp", "apply", "research")
    assert json.loads(copy.read(KEY))["seed"] == 5
    copy.run("privpipe", "predict", "--key", KEY, image)
    copy.run("git", "checkout", "--quiet", "--", ".")
    copy.dvc("checkout", "models/model.safetensors")  # the model of the real key, beside the reference to the other
    done = copy.run("privpipe", "predict", "--key", KEY, image, ok=False)
    assert done.returncode == 1 and "`dvc checkout data/private/key.json`" in " ".join(done.stderr.split())
    copy.dvc("checkout", KEY)
    assert copy.read(KEY) == before


@pytest.mark.usefixtures("applied")
def test_the_secret_is_nowhere_in_the_project(owner: Project, home: Path) -> None:
    secret = owner.secret()
    contents = held(owner.folder)
    assert owner.read(KEY) in contents
    assert not any(piece in content for piece in (secret.encode(), bytes.fromhex(secret)) for content in contents)
    assert not home.is_relative_to(owner.folder)
