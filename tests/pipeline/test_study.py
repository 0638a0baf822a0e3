"""The study in small: one command runs it, a killed one goes on where it stopped, a new point runs alone."""

import csv
import re
import shutil
import time
from pathlib import Path

import cv2
import pytest
from projects import Project, copy_project, started_dvc
from test_interruption import stage_runs

from privpipe.pipeline.grid import load_grid

pytestmark = pytest.mark.pipeline

STUDY = "studies/paper"
EXAMPLES = ("figure-04", "figure-06", "figure-08", "figure-10")
FIGURES = (*EXAMPLES, *(f"figure-{n:02}" for n in (5, 7, 9, 11, 12, 13)), "plain", "search")

PLOTS = {
    "figure 5: gaussian_blur", "figure 7: random_filter", "figure 9: random_filter-image",
    "figure 11: block_scramble", "figure 12: descrambler", "figures/plain.png", "figures/search.png",
    *(f"figures/figure-{number:02}.png" for number in (5, 7, 9, 11, 12, 13)),
}  # fmt: skip


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after the small study, committed. Tests must leave it as it is: copy it to change it."""
    project = copy_project(tmp_path_factory.mktemp("studied"))
    for name in ("common.yaml", "params.yaml", "readings.yaml", "precision.yaml", "penalty.yaml", "modern.yaml"):
        shutil.copy(project.folder / STUDY / "small" / name, project.folder / STUDY / name)
    for old, new in (("n_train: 400", "n_train: 100"), ("n_val: 100", "n_val: 50"), ("n_test: 100", "n_test: 50")):
        project.edit(f"{STUDY}/common.yaml", old, new)
    dvc(project, "repro")
    project.commit("studied")
    return project


@pytest.fixture
def study(studied: Project, tmp_path: Path) -> Project:
    """A copy of the small study that a test may change."""
    shutil.copytree(studied.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def dvc(project: Project, *arguments: str) -> str:
    """Run DVC in the study's folder."""
    return project.dvc("--cd", STUDY, *arguments)


def rows(project: Project, path: str) -> list[dict[str, str]]:
    with (project.folder / STUDY / path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_command_trains_every_model_and_draws_every_figure(studied: Project) -> None:
    folder = studied.folder / STUDY
    grid = load_grid(folder / "params.yaml", folder / "common.yaml")
    table = rows(studied, "results.csv")
    assert len(table) == sum(len(tasks) for tasks in grid.groups.values())
    assert {row["status"] for row in table} == {"done"}
    assert {row["group"] for row in table} == set(grid.groups)
    assert {row["status"] for row in rows(studied, "readings.csv")} == {"done"}
    assert [row["precision"] for row in rows(studied, "precision.csv")] == ["float32", "bfloat16"]
    assert [(row["reg"], row["status"]) for row in rows(studied, "penalty.csv")] == [("0.01", "done")]
    assert {(row["recipe"], row["status"]) for row in rows(studied, "modern.csv")} == {("modern", "done")}
    for name in FIGURES:
        assert cv2.imread(str(folder / "figures" / f"{name}.png")).std() > 5
        assert (folder / "figures" / f"{name}.svg").read_text().startswith("<?xml")
    assert (folder / "claims.md").read_text().count("\n| ") > 8
    assert not (folder / "data" / "scratch").exists()


def test_it_is_up_to_date_then_and_its_figures_are_plots(studied: Project) -> None:
    # The stage that notes the code cannot tell by itself, and finds nothing new.
    assert dvc(studied, "status").split() == ["code:", "always", "changed"]
    assert re.findall(r"Running stage '(\S+)'", dvc(studied, "repro")) == ["code"]
    assert set(studied.json("--cd", STUDY, "plots", "show", "--json")["data"]) == PLOTS
    assert studied.run("git", "status", "--porcelain").stdout == ""


def test_figures_that_show_an_original_are_neither_pushed_nor_in_git(studied: Project) -> None:
    listed = studied.run("git", "ls-files", STUDY).stdout.split()
    for name in FIGURES:
        for suffix in ("png", "svg"):
            assert (f"{STUDY}/figures/{name}.{suffix}" in listed) == (name not in EXAMPLES)
    assert not [path for path in listed if path.endswith(".h5")]


def test_a_new_point_is_the_only_one_that_runs(study: Project) -> None:
    before = {row["fingerprint"]: row for row in rows(study, "results.csv")}
    study.edit(
        f"{STUDY}/params.yaml", "      k:\n        - 9\n    key:", "      k:\n        - 9\n        - 11\n    key:"
    )
    out = dvc(study, "repro")
    assert "group@wide_filter" in out and out.count("python -m studies.paper.group") == 1
    after = {row["fingerprint"]: row for row in rows(study, "results.csv")}
    assert all(after[name] == row for name, row in before.items())  # the measured seconds too
    new = [row for name, row in after.items() if name not in before]
    assert {(row["group"], row["k"]) for row in new} == {("wide_filter", "11")}


def test_a_killed_study_goes_on_and_repeats_no_model(study: Project) -> None:
    study.edit(
        f"{STUDY}/params.yaml",
        "  seeds:                   # training seeds of each experiment\n    - 0\n",
        "  seeds:\n    - 0\n    - 1\n    - 2\n",
    )
    path = "results/random_filter.csv"
    before = rows(study, path)
    kill_after(study, "group@random_filter", path, len(before) + 2)
    halfway = rows(study, path)
    assert len(before) + 2 <= len(halfway) < 3 * len(before)
    dvc(study, "repro", "group@random_filter")
    after = rows(study, path)
    assert len(after) == 3 * len(before)
    assert all(row in after for row in before + halfway)


def kill_after(project: Project, stage: str, path: str, count: int) -> None:
    """Kill a stage's process with SIGKILL as soon as its table has `count` rows."""
    with started_dvc(project, "--cd", STUDY, "repro", stage) as dvc:
        deadline = time.monotonic() + 120
        while len(rows(project, path)) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        for process in stage_runs(dvc.pid, "studies.paper.group"):
            process.kill()
        assert dvc.wait(60) != 0


def test_the_survey_runs_in_a_project_of_its_own(tmp_path: Path) -> None:
    project, survey = copy_project(tmp_path), "studies/survey"
    for old, new in {
        "source: cifar10": "source: synthetic",
        "n_train: 10000": "n_train: 100",
        "n_val: 1000": "n_val: 50",
        "n_test: 2000": "n_test: 50",
        "epochs: 5": "epochs: 1",
        "targets: 1000": "targets: 20",
        "pairs: 1000": "pairs: 20",
        "network_epochs: 2": "network_epochs: 1",
        "reference_epochs: 8": "reference_epochs: 1",
    }.items():
        project.edit(f"{survey}/common.yaml", f"  {old}", f"  {new}")
    grid = (project.folder / survey / "params.yaml").read_text()
    points = ("none:", "pixelate-8:")
    kept = [line for line in grid.splitlines() if "{perturb:" not in line or line.split()[0] in points]
    (project.folder / survey / "params.yaml").write_text("\n".join(kept) + "\n")
    project.dvc("--cd", survey, "repro")
    for path in ("points.csv", "results.csv"):
        with (project.folder / survey / path).open(newline="") as file:
            assert [row.get("point") or row["group"] for row in csv.DictReader(file)] == ["none", "pixelate-8"]
    assert cv2.imread(str(project.folder / survey / "tradeoff.png")).std() > 5
    changed = project.run("git", "status", "--porcelain", survey).stdout.split()[1::2]
    assert {path for path in changed if "/.code/" not in path} == {
        f"{survey}/{name}"
        for name in (
            "attacks.csv",
            "common.yaml",
            "dvc.lock",
            "identified.csv",
            "params.yaml",
            "points.csv",
            "results.csv",
        )
    } | {f"{survey}/tradeoff.{kind}" for kind in ("png", "svg")}
    assert not (project.folder / "dvc.lock").read_text().count("pixelate-8")
