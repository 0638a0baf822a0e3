"""`dvc exp run`, the queue, metrics diff and plots, as a user runs them."""

import pytest
from projects import Project

pytestmark = pytest.mark.pipeline

PLOTS = {
    "accuracy by epoch", "loss by epoch", "confusion", "accuracy by class", "descrambler",
    "key recovery by stolen images", "key recovery by known pairs",
    "accuracy against measured privacy", "plots/examples.png", "plots/reconstructions.png",
}  # fmt: skip


def test_exp_run_changes_k_and_metrics_diff_shows_old_new_and_change(project: Project) -> None:
    project.dvc("exp", "run", "-S", "perturb.k=8")
    diff = project.json("metrics", "diff", "--json", "--all")
    values = {f"{path}:{name}": value for path, file in diff.items() for name, value in file.items()}
    assert {"metrics/evaluate.json:test_accuracy", "metrics/descrambler.json:blocks_exact"} <= set(values)
    assert all({"old", "new"} <= set(value) for value in values.values())
    chance = values["metrics/descrambler.json:chance_pixels_right"]
    assert (chance["old"], chance["new"]) == (1 / 16, 1 / 64)
    assert chance["diff"] == pytest.approx(1 / 64 - 1 / 16)
    params = project.json("params", "diff", "--json")
    assert params["params.yaml"]["perturb.k"] == {"old": 4, "new": 8, "diff": 4}
    comment = "# filter size (odd) or block size (divides image_size)"
    assert comment in project.read("params.yaml").decode()


def test_a_queue_of_three_runs_and_lists_them(project: Project) -> None:
    """Up to the stages whose metrics are looked at: whole experiments are queued in test_own_experiments.py."""
    project.dvc("exp", "run", "--queue", "-S", "perturb.k=2,4,8", "evaluate", "descramble")
    project.dvc("exp", "run", "--run-all", "--jobs", "1")
    rows = project.json("exp", "show", "--json")
    found = [row for branch in rows for row in branch.get("experiments") or []]
    data = [experiment["revs"][0]["data"] for experiment in found]
    assert {entry["params"]["params.yaml"]["data"]["perturb"]["k"] for entry in data} == {2, 4, 8}
    for entry in data:
        assert set(entry["metrics"]["metrics/evaluate.json"]["data"]) == set(project.metrics("evaluate"))
        assert entry["metrics"]["metrics/descrambler.json"]["data"]["pixels_right"] is not None


def test_plots_show_draws_every_plot(project: Project) -> None:
    assert set(project.json("plots", "show", "--json")["data"]) == PLOTS
    out = project.dvc("plots", "show")
    page = project.folder / "dvc_plots/index.html"
    assert str(page) in out
    assert "val_accuracy" in page.read_text()


def test_plots_diff_puts_two_experiments_into_one_plot(project: Project) -> None:
    project.dvc("exp", "run", "-S", "train.lr=0.002")
    shown = project.json("plots", "diff", "HEAD", "workspace", "--json")
    revisions = {rev for content in shown["data"]["accuracy by epoch"] for rev in content["revisions"]}
    assert revisions == {"HEAD", "workspace"}
