"""The grid of a sweep: what is committed, how groups are expanded, and what is refused."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from small_sweep import ROOT, models, write_sweep

from privpipe.errors import PrivpipeError
from privpipe.params import load_params
from privpipe.pipeline.grid import Grid, Task, load_grid

STUDY = ROOT / "studies" / "paper"
SMALL = STUDY / "small"
PLAIN = ("none", 1, "dataset")
# Method, k, scope and architecture of every experiment of the paper.
PAPER = {
    "plain": {(*PLAIN, "baseline"), (*PLAIN, "three_layer")},
    "gaussian_blur": {("gaussian_blur", k, "dataset", "baseline") for k in (3, 5, 7)},
    "random_filter": {("random_filter", k, "dataset", "baseline") for k in (3, 5, 7)},
    "random_filter-image": {("random_filter", k, "image", "baseline") for k in (3, 5, 7)},
    "block_scramble": {("block_scramble", k, "dataset", "baseline") for k in (2, 4, 8)},
    "descrambler": {("block_scramble", k, "dataset", "descrambler") for k in (2, 4, 8)},
    "search": {(*PLAIN, "baseline")},
}


def committed(folder: Path) -> Grid:
    return load_grid(folder / "params.yaml", folder / "common.yaml")


def experiment(task: Task) -> tuple[str, int, str, str]:
    p = task.params
    return p.perturb.method, p.perturb.k, p.perturb.scope, p.model.arch


def message_of(folder: Path, groups: Any, **parts: Any) -> str:
    with pytest.raises(PrivpipeError) as caught:
        load_grid(*write_sweep(folder, groups, **parts))
    return str(caught.value)


def message_of_text(folder: Path, text: str) -> str:
    """What is said to a params.yaml that holds `text`."""
    path, common = write_sweep(folder, {})
    path.write_text(text)
    with pytest.raises(PrivpipeError) as caught:
        load_grid(path, common)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize("folder", [STUDY, SMALL], ids=["study", "small"])
def test_a_committed_study_has_all_experiments_of_the_paper(folder: Path) -> None:
    grid = committed(folder)
    for group, experiments in PAPER.items():
        assert {experiment(task) for task in grid.groups[group]} == experiments
        assert {task.group for task in grid.groups[group]} == {group}


def test_the_small_study_has_the_groups_of_the_large_one() -> None:
    assert list(committed(SMALL).groups) == list(committed(STUDY).groups)


def test_the_committed_study_repeats_draws_and_trainings() -> None:
    grid = committed(STUDY)
    draws = {(t.params.perturb.k, t.params.key.seed) for t in grid.groups["random_filter"]}
    for k in (3, 5, 7):
        assert len({draw for of_k, draw in draws if of_k == k}) >= 5
    assert len(grid.sweep.seeds) >= 3
    for name, tasks in grid.groups.items():
        for one in {experiment(task) for task in tasks} if name != "search" else ():
            # A group may have more of them.
            assert {t.params.train.seed for t in tasks if experiment(t) == one} >= set(grid.sweep.seeds)


def test_the_committed_search_is_a_product_around_the_frozen_setting() -> None:
    grid, frozen = committed(STUDY), load_params(STUDY / "common.yaml").train
    found = [(task.params.train.lr, task.params.train.reg) for task in grid.groups["search"]]
    rates, penalties = {lr for lr, _ in found}, {reg for _, reg in found}
    assert set(found) == set(itertools.product(rates, penalties))
    assert len(found) == len(rates) * len(penalties)
    assert (frozen.lr, frozen.reg) in found
    assert min(rates) < frozen.lr < max(rates)


def test_a_group_is_the_product_of_its_lists_in_order(tmp_path: Path) -> None:
    group = {
        "perturb": {"method": "random_filter", "k": [3, 5]},
        "key": {"seed": [7, 8, 9]},
        "train": {"lr": [0.1, 0.01], "reg": 0.5},
    }
    study = {"recipes": ["modern", "paper"], "seeds": [4, 2]}
    recipes = {"paper": None, "modern": {"train": {"batch_size": 5}}}
    tasks = load_grid(*write_sweep(tmp_path, {"small": group}, sweep=study, recipes=recipes)).groups["small"]
    found = [
        (p.train.recipe, p.perturb.k, p.key.seed, p.train.lr, p.train.seed) for p in (task.params for task in tasks)
    ]
    expected = [
        (recipe, k, draw, lr, seed)
        for recipe in ("modern", "paper")
        for k in (3, 5)
        for draw in (7, 8, 9)
        for lr in (0.1, 0.01)
        for seed in (4, 2)
    ]
    assert found == expected
    assert {task.params.train.reg for task in tasks} == {0.5}


def test_a_group_that_names_nothing_is_the_common_experiment(tmp_path: Path) -> None:
    path, common = write_sweep(tmp_path, {"small": {}})
    assert [task.params for task in load_grid(path, common).groups["small"]] == [load_params(common)]


def test_a_group_goes_before_a_recipe_and_a_recipe_before_what_is_common(tmp_path: Path) -> None:
    common = {"train": {"lr": 0.1, "reg": 0.1, "epochs": 3}}
    recipes = {
        "paper": {"train": {"lr": 0.2, "reg": 0.2}},
        "modern": {"train": {"lr": 0.4}, "model": {"penalty": "l2"}},
    }
    groups = {"small": {"train": {"lr": 0.3}}, "other": {}}
    study = {"recipes": ["paper", "modern"]}
    grid = load_grid(*write_sweep(tmp_path, groups, sweep=study, recipes=recipes, common=common))
    found = {
        name: [(t.params.train.lr, t.params.train.reg, t.params.train.epochs, t.params.model.penalty) for t in tasks]
        for name, tasks in grid.groups.items()
    }
    assert found["small"] == [(0.3, 0.2, 3, "l1"), (0.3, 0.1, 3, "l2")]
    assert found["other"] == [(0.2, 0.2, 3, "l1"), (0.4, 0.1, 3, "l2")]


@pytest.mark.parametrize(("own", "expected"), [(5, [5]), ([5, 6], [5, 6])])
def test_a_training_seed_of_a_group_takes_the_place_of_the_common_ones(
    tmp_path: Path, own: Any, expected: list[int]
) -> None:
    tasks = models(tmp_path, {"train": {"seed": own}}, seeds=[0, 1, 2])
    assert [task.params.train.seed for task in tasks] == expected


def test_a_model_is_named_by_what_tells_it_from_the_others(tmp_path: Path) -> None:
    (task,) = models(tmp_path, {"perturb": {"method": "pixelate", "k": 4}, "key": {"seed": 3}}, seeds=[2])
    assert task.name == "small (paper, baseline, k=4, key.seed=3, train.seed=2, train.lr=0.001, train.reg=0.001)"


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            {"trian": {"lr": 1.0}},
            "a parameter group in the sweep's group small must be one of key, perturb, model, train, attack; "
            "got 'trian'. Did you mean train[?]",
        ),
        # The images are made once, for all groups.
        (
            {"data": {"image_size": 8}},
            "a parameter group in the sweep's group small must be one of key, perturb, model, train, attack; "
            "got 'data'. Did you mean attack[?]",
        ),
        ({3: {"lr": 1.0}}, "a parameter group in the sweep's group small must be one of .*; got '3'[.]"),
        (
            {"train": {"learning_rate": 1.0}},
            "a parameter of train must be one of epochs, batch_size, recipe, lr, .*; got 'learning_rate'.",
        ),
        (
            {"perturb": {"method": "block_scramble", "k": [2, 5]}},
            "perturb.k must divide data.image_size=16 for perturb.method=block_scramble; got 5. "
            "Use one of 1, 2, 4, 8, 16.",
        ),
        ({"train": {"lr": "fast"}}, "train.lr .*; got 'fast'. Write a plain number .*"),
        ({"train": 3}, "train in the sweep's group small must hold parameters; got 3. Write one per line: .*"),
        ({"train": None}, "train in the sweep's group small must hold parameters; got None. Write one per line: .*"),
        ({"perturb": {"k": []}}, "perturb.k in the sweep's group small is an empty list. Put a value into it."),
        # What would be overruled in silence.
        (
            {"train": {"recipe": "modern"}},
            "train.recipe in the sweep's group small is overruled by sweep.recipes. Take it out, and set that.",
        ),
        # Each model would get a key of its own, and so would the descrambler's score.
        (
            {"key": {"seed": None}},
            "key.seed in the sweep's group small must be a number; got null. .* Use 0, or a list such as .*",
        ),
    ],
)
def test_a_bad_group_is_refused(tmp_path: Path, group: Any, message: str) -> None:
    assert re.fullmatch(message, message_of(tmp_path, {"good": {}, "small": group}))


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ({"modern": {}}, "sweep.recipes names paper, and recipes has no such entry. Add one."),
        (
            {"paper": {"trian": {"lr": 1.0}}},
            "a parameter group in the sweep's recipe paper must be one of key, .*; got 'trian'. Did you mean train[?]",
        ),
        ({"paper": {"data": {"n_val": 10}}}, "a parameter group in the sweep's recipe paper must be .*; got 'data'.*"),
        ({"paper": {"train": 3}}, "train in the sweep's recipe paper must hold parameters; got 3. .*"),
        ({"paper": {"train": {"lr": -1.0}}}, "train.lr .* greater than 0; got -1.0."),
        ({"paper": {"train": {"seed": 1}}}, "train.seed in the sweep's recipe paper is overruled by sweep.seeds. .*"),
    ],
)
def test_a_bad_recipe_is_refused(tmp_path: Path, recipes: Any, message: str) -> None:
    assert re.fullmatch(message, message_of(tmp_path, {"small": {}}, recipes=recipes))


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"seeds": []}, "sweep.seeds: List should have at least 1 item after validation, not 0; got []."),
        ({"seeds": [-1]}, "sweep.seeds.0: Input should be greater than or equal to 0; got -1."),
        ({"seeds": ["1"]}, "sweep.seeds.0: Input should be a valid integer; got '1'."),
        ({"seeds": 3}, "sweep.seeds: Input should be a valid list; got 3."),
        ({"recipes": ["old"]}, "sweep.recipes.0: Input should be 'paper' or 'modern'; got 'old'."),
        ({"workers": 0}, "sweep.workers: Input should be greater than or equal to 1; got 0."),
        ({"scheduler": None}, "sweep.scheduler: Input should be a valid string; got None."),
        ({"sheduler": "inline"}, "sweep.sheduler: Extra inputs are not permitted; got 'inline'."),
    ],
)
def test_a_bad_way_to_run_is_refused(tmp_path: Path, study: dict[str, Any], message: str) -> None:
    assert message_of(tmp_path, {"small": {}}, sweep=study) == f"{message}\nRepair {tmp_path / 'params.yaml'}."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ".* not iterable"),
        ("3\n", ".* not iterable"),
        ("a: [1\n", r".*(?s:.*)"),
        ("a: 1\na: 2\n", r"(?s:.*)duplicate key(?s:.*)"),
        ("a: 2001-99-99\n", r"month must be in 1\.\.12"),
        ("sweep: {}\nrecipes: {}\n", "it has sweep, recipes"),
        ("sweep: {}\nrecipes: {}\ngroups: {}\ndata: {}\n", "it has sweep, recipes, groups, data"),
        ("sweep: {}\nrecipes: {}\ngroups: [a]\n", ".*"),
        ("sweep: {}\nrecipes: 3\ngroups: {}\n", ".*"),
        ("sweep: {}\nrecipes: {}\ngroups: {a: null}\n", ".*"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    frame = f"cannot read a sweep from FILE: {problem}. It must hold sweep, recipes, groups; restore it with git."
    assert re.fullmatch(frame, message_of_text(tmp_path, text))


def test_the_old_name_of_a_section_is_refused_with_the_new_one(tmp_path: Path) -> None:
    message = message_of_text(tmp_path, "study: {}\nrecipes: {}\ngroups: {}\n")
    assert message == "study in FILE is called sweep now. Rename it, and keep what it holds."


def test_a_group_that_is_not_there_is_refused(tmp_path: Path) -> None:
    grid = load_grid(*write_sweep(tmp_path, {"small": {}}))
    with pytest.raises(
        PrivpipeError, match=r"a group of the sweep must be one of small; got 'smal'. Did you mean small"
    ):
        grid.tasks("smal")


def test_missing_files_are_named(tmp_path: Path) -> None:
    path, common = write_sweep(tmp_path, {})
    with pytest.raises(PrivpipeError, match=r"cannot read a sweep from .*none.yaml: .*No such file or directory"):
        load_grid(tmp_path / "none.yaml", common)
    with pytest.raises(PrivpipeError, match=r"cannot read .*none.yaml: No such file.* Run from the folder that"):
        load_grid(path, tmp_path / "none.yaml")


def test_common_parameters_are_checked(tmp_path: Path) -> None:
    path, common = write_sweep(tmp_path, {}, common={"train": {"lr": 0.0}})
    with pytest.raises(PrivpipeError, match=r"train.lr .*: input should be greater than 0; got 0.0"):
        load_grid(path, common)
    common.write_text("a: [1\n")
    with pytest.raises(PrivpipeError, match=r"common.yaml is no valid YAML"):
        load_grid(path, common)
