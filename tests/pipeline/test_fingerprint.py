"""One model of the study: its figures are the pipeline's, and its fingerprint names all that decides them."""

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from privpipe.pipeline.task import ONE_RUN_AT_A_TIME, WITHOUT, Place, fingerprint, fingerprint_of_inputs, run
from privpipe.report.study_columns import COLUMNS
from small_study import ROOT, models, write_small_images, write_study

from privpipe.attacks.descrambler_init import preparation
from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import save_bundle
from privpipe.nn.engine import Recipe
from privpipe.nn.evaluate_job import evaluate_file
from privpipe.nn.train_job import train_file
from privpipe.owner.key import new_key
from privpipe.owner.perturbing import perturb_file
from privpipe.params import GROUPS, check_params, load_params
from privpipe.pipeline.code import Sources
from privpipe.pipeline.grid import Task, load_grid
from privpipe.scores.descrambler import score

SCRAMBLE = {"method": "block_scramble", "k": 4}
GROUPS_TO_RUN: dict[str, dict[str, Any]] = {
    "plain": {"train": {"seed": 1}},
    "random filter": {
        "perturb": {"method": "random_filter", "k": 3, "scope": "image"},
        "model": {"arch": "three_layer"},
    },
    "descrambler": {"perturb": SCRAMBLE, "model": {"arch": "descrambler", "penalty": "l2"}, "key": {"seed": 3}},
    "inferred": {"perturb": SCRAMBLE, "model": {"arch": "descrambler", "descrambler": "inferred"}},
    "settings": {"train": {"epochs": 2, "batch_size": 7, "lr": 0.01, "lr_decay": 0.5, "reg": 0.1}},
}
# A legal other value of each parameter, with all others as in `base`.
CHANGES: dict[str, Any] = {
    "key.seed": 1,
    "perturb.method": "pixelate",
    "perturb.k": 8,
    "perturb.scope": "image",
    "perturb.sigma": 1.0,
    "model.arch": "descrambler",
    "model.descrambler": "inferred",
    "model.penalty": "l2",
    "train.epochs": 2,
    "train.batch_size": 21,
    "train.recipe": "modern",
    "train.lr": 0.002,
    "train.lr_decay": 0.9,
    "train.reg": 0.0,
    "train.seed": 1,
    "train.precision": "bfloat16",
    "train.memory_mb": 1,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_images(tmp_path_factory.mktemp("images") / "images.h5")


@pytest.fixture(scope="module")
def inputs(images: Path) -> str:
    return fingerprint_of_inputs(images)


@pytest.fixture
def place(images: Path, inputs: str, tmp_path: Path) -> Place:
    return Place(images, tmp_path / "scratch", inputs)


def model(folder: Path, **sections: dict[str, Any]) -> Task:
    (task,) = models(folder, sections)
    return task


def files(place: Place, suffix: str) -> dict[str, int]:
    """The scratch files of a kind, with the moment of their last change."""
    return {path.name: path.stat().st_mtime_ns for path in place.scratch.rglob(f"*{suffix}")}


@pytest.mark.parametrize(("style", "name"), [*(("paper", name) for name in GROUPS_TO_RUN), ("modern", "descrambler")])
def test_a_row_has_exactly_the_figures_of_the_pipeline(
    style: str, name: str, images: Path, place: Place, tmp_path: Path
) -> None:
    recipes = {"paper": None, "modern": {"train": {"lr": 0.1}}}
    parts = write_study(tmp_path, {name: GROUPS_TO_RUN[name]}, study={"recipes": [style]}, recipes=recipes)
    (task,) = load_grid(*parts).groups[name]
    row = run(task, place)

    p, key = task.params, new_key(task.params.key.seed)
    counts = perturb_file(images, tmp_path / "perturbed.h5", p.perturb, key)
    recipe = Recipe(
        epochs=p.train.epochs,
        batch_size=p.train.batch_size,
        lr=p.train.lr,
        reg=p.train.reg,
        seed=p.train.seed,
        penalty=p.model.penalty,
        style=style,
        lr_decay=p.train.lr_decay,
    )
    training = train_file(tmp_path / "perturbed.h5", p.model.arch, recipe, "cpu", 1, preparation(p.model.descrambler))
    save_bundle(tmp_path / "model.safetensors", training.bundle)
    accuracy = evaluate_file(tmp_path / "perturbed.h5", tmp_path / "model.safetensors", "cpu", 1).metrics
    found = score(training.bundle, key)
    blocks = [int((found.right == right).sum()) for right in range(found.pixels + 1)] if found.pixels else []
    assert list(row) == list(COLUMNS)
    assert row.pop("seconds") > 0
    assert row == {
        **{"group": name, "method": p.perturb.method, "k": p.perturb.k, "scope": p.perturb.scope, "sigma": 0.0},
        **{"draw": p.key.seed, "seed": p.train.seed, "arch": p.model.arch, "recipe": style},
        "descrambler": p.model.descrambler if p.model.arch == "descrambler" else "",
        **{"epochs": p.train.epochs, "batch_size": p.train.batch_size, "lr": p.train.lr},
        **{"lr_decay": p.train.lr_decay, "reg": p.train.reg},
        **{split: counts[split] for split in ("n_train", "n_val", "n_test")},
        **{figure: accuracy[figure] for figure in ("val_accuracy", "test_accuracy")},
        **{figure: accuracy[figure] for figure in ("test_accuracy_low", "test_accuracy_high")},
        "final_train_loss": training.history[-1].train_loss,
        **{figure: found.metrics[figure] for figure in ("blocks_exact", "blocks_none", "pixels_right")},
        "blocks_by_right_pixels": " ".join(map(str, blocks)),
        **{"device": "cpu, 1 threads", "status": "done", "fingerprint": fingerprint(task, place.fingerprint)},
    }
    assert (row["n_train"], row["n_val"], row["n_test"]) == (60, 20, 20)
    if p.model.arch == "descrambler":
        assert sum(blocks) == (16 // 4) ** 2
        assert len(blocks) == 4**2 + 1


def test_models_that_follow_each_other_share_the_perturbed_images(place: Place, tmp_path: Path) -> None:
    tasks = models(tmp_path, {"perturb": {**SCRAMBLE, "k": [4, 8]}, "model": {"arch": ["baseline", "three_layer"]}})
    seen = []
    for task in tasks:
        run(task, place)
        seen.append(files(place, ".h5"))
        assert len(seen[-1]) == 1  # what nobody needs any more is gone
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert set(seen[0]) != set(seen[2])


@pytest.mark.parametrize("other", [{"key": {"seed": 1}}, {"perturb": {**SCRAMBLE, "scope": "image"}}])
def test_another_key_or_scope_is_another_file(place: Place, tmp_path: Path, other: dict[str, Any]) -> None:
    run(model(tmp_path, perturb=SCRAMBLE), place)
    before = files(place, ".h5")
    run(model(tmp_path, **{"perturb": SCRAMBLE, **other}), place)
    assert set(files(place, ".h5")).isdisjoint(before)


def test_images_that_a_killed_worker_left_unfinished_are_made_again(place: Place, tmp_path: Path) -> None:
    """As after a kill before the last file was written, by a worker with the same number."""
    task = model(tmp_path, perturb=SCRAMBLE)
    expected = run(task, place)
    (counts,) = place.scratch.rglob("*.json")
    counts.unlink()
    (perturbed,) = place.scratch.rglob("*.h5")
    perturbed.write_bytes(perturbed.read_bytes()[:100])
    assert {**run(task, place), "seconds": None} == {**expected, "seconds": None}


def test_a_training_that_diverged_is_a_row_without_accuracy(place: Place, tmp_path: Path) -> None:
    row = run(model(tmp_path, train={"lr": 1e30}), place)
    assert list(row) == list(COLUMNS)
    assert (row["status"], row["lr"], row["n_train"], row["group"]) == ("diverged", 1e30, 60, "small")
    assert row["fingerprint"]
    unknown = COLUMNS[COLUMNS.index("val_accuracy") : COLUMNS.index("device") + 1]
    assert {name: row[name] for name in unknown} == dict.fromkeys(unknown)


def test_a_second_model_in_the_same_process_is_refused(place: Place, tmp_path: Path) -> None:
    task, other = models(tmp_path, {"train": {"epochs": [20, 1]}})
    rows: list[dict[str, Any]] = []
    first = threading.Thread(target=lambda: rows.append(run(task, place)))
    first.start()
    while not ONE_RUN_AT_A_TIME.locked():
        time.sleep(0.001)
    with pytest.raises(PrivpipeError) as caught:
        run(other, place)
    first.join()
    assert str(caught.value) == (
        "this process trains another model already. Start Dask workers with `--nthreads 1`, and as many as needed "
        "with `--nworkers`."
    )
    assert rows[0]["status"] == "done"
    assert run(other, place)["status"] == "done"


def test_a_model_that_failed_makes_room_for_the_next(place: Place, tmp_path: Path) -> None:
    task = model(tmp_path)
    with pytest.raises(PrivpipeError, match=r"none.h5 is missing"):
        run(task, Place(tmp_path / "none.h5", place.scratch, place.fingerprint))
    assert run(task, place)["status"] == "done"


def base() -> dict[str, Any]:
    common = load_params(ROOT / "studies" / "paper" / "common.yaml").model_dump()
    return {**common, "perturb": {**common["perturb"], **SCRAMBLE}}


def fingerprint_with(inputs: str, parameter: str | None = None, value: Any = None) -> str:
    values = base()
    if parameter is not None:
        section, name = parameter.split(".")
        assert values[section][name] != value
        values[section][name] = value
    return fingerprint(Task("small", check_params(values)), inputs)


def test_every_parameter_that_decides_a_figure_changes_the_fingerprint(inputs: str) -> None:
    deciding = {
        f"{section}.{name}"
        for section, group in GROUPS.items()
        for name in group.model_fields
        if section not in {"data", "attack"} and (section, name) not in {("train", "device"), ("train", "threads")}
    }
    assert set(CHANGES) == deciding
    names = {fingerprint_with(inputs, *change) for change in CHANGES.items()} | {fingerprint_with(inputs)}
    assert len(names) == len(CHANGES) + 1
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("train.device", "cpu"),
        ("train.threads", 2),
        ("attack.targets", 2),
        ("attack.stolen", 5),
        ("attack.pairs", 1),
        ("attack.network_epochs", 1),
        ("attack.reference_epochs", 2),
        ("attack.seed", 1),
        ("data.split_seed", 1),  # the images themselves count
    ],
)
def test_where_it_runs_and_what_follows_does_not_change_the_fingerprint(
    inputs: str, parameter: str, value: Any
) -> None:
    assert fingerprint_with(inputs, parameter, value) == fingerprint_with(inputs)


def test_other_images_change_the_fingerprint_and_another_place_does_not(
    images: Path, inputs: str, tmp_path: Path
) -> None:
    shutil.copy(images, tmp_path / "moved.h5")
    assert fingerprint_of_inputs(tmp_path / "moved.h5") == inputs
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    (tmp_path / "other.h5").write_bytes(content)
    other = fingerprint_of_inputs(tmp_path / "other.h5")
    assert other != inputs
    assert fingerprint_with(other) != fingerprint_with(inputs)


def test_missing_images_are_told(tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError) as caught:
        fingerprint_of_inputs(tmp_path / "none.h5")
    assert str(caught.value) == (
        f"cannot read {tmp_path / 'none.h5'}: No such file or directory. Make it with `dvc --cd studies/paper repro`."
    )


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, whose code the fingerprint is made of."""
    folder = tmp_path / "privpipe"
    shutil.copytree(ROOT / "privpipe", folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("privpipe.pipeline.task.__file__", str(folder / "study" / "task.py"))
    return folder


def changed_by(copied: Path, name: str, images: Path, inputs: str) -> bool:
    """Whether a line more in a module changes the fingerprint."""
    module = copied.parent.joinpath(*name.split("."))
    source = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    text = source.read_text()
    source.write_text(f"{text}\nADDED = 1\n")
    found = fingerprint_of_inputs(images)
    source.write_text(text)
    return found != inputs


def test_code_that_decides_a_figure_changes_the_fingerprint(copied: Path, images: Path, inputs: str) -> None:
    behind = Sources(copied.parent).behind("privpipe.pipeline.task", WITHOUT)
    assert {"privpipe/nn/engine.py", "privpipe/perturb/gaussian_blur.py", "privpipe/pipeline/task.py"} <= set(behind)
    for path in behind:
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        assert changed_by(copied, name, images, inputs), path


def test_comments_in_the_code_do_not_change_the_fingerprint(copied: Path, images: Path, inputs: str) -> None:
    for source in copied.rglob("*.py"):
        source.write_text(f"# A comment.\n{source.read_text()}\n# Another.\n")
    assert fingerprint_of_inputs(images) == inputs


def test_code_beside_it_does_not_change_the_fingerprint(copied: Path, images: Path, inputs: str) -> None:
    beside = ("pipeline.runner", "pipeline.ledger", "report.page", "attacks.network")
    for name in (*WITHOUT, *(f"privpipe.{module}" for module in beside)):
        assert not changed_by(copied, name, images, inputs), name


def test_what_is_left_out_of_the_fingerprint_is_code_behind_a_model() -> None:
    left_out = {f"{name.replace('.', '/')}.py" for name in WITHOUT}
    assert left_out <= set(Sources(ROOT).behind("privpipe.pipeline.task"))
