"""The fingerprint of a measurement names all that decides its figures, and nothing else."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from small_sweep import ROOT, write_small_images

from privpipe.errors import PrivpipeError
from privpipe.params import GROUPS, check_params, load_params
from privpipe.pipeline import fingerprint as module
from privpipe.pipeline.code import Sources
from privpipe.pipeline.fingerprint import WITHOUT, Measurement, code_of, fingerprint, fingerprint_of_inputs
from privpipe.pipeline.grid import Task
from studies.paper.group import MODEL
from studies.survey.points import POINT

SCRAMBLE = {"method": "block_scramble", "k": 4}
# A legal other value of each parameter, with all others as in `base`.
NOT_DECIDING = {("train", "device"), ("train", "threads"), ("key", "budget"), ("perturb", "epsilon")}  # see below
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
    "train.precision": "float32",
    "train.memory_mb": 1,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_images(tmp_path_factory.mktemp("images") / "images.h5")


@pytest.fixture(scope="module")
def inputs(images: Path) -> str:
    return fingerprint_of_inputs(code_of(MODEL), {"images": images})


def base() -> dict[str, Any]:
    common = load_params(ROOT / "studies" / "paper" / "common.yaml").model_dump()
    return {**common, "perturb": {**common["perturb"], **SCRAMBLE}}


def fingerprint_with(
    inputs: str, parameter: str | None = None, value: Any = None, measurement: Measurement = MODEL
) -> str:
    values = base()
    if parameter is not None:
        section, name = parameter.split(".")
        assert values[section].get(name) != value
        values[section][name] = value
    return fingerprint(Task("small", check_params(values)), measurement, inputs)


def test_every_parameter_that_decides_a_figure_changes_the_fingerprint(inputs: str) -> None:
    deciding = {
        f"{section}.{name}"
        for section, group in GROUPS.items()
        for name in group.model_fields
        if section not in {"data", "attack"} and (section, name) not in NOT_DECIDING
    }
    assert set(CHANGES) == deciding
    names = {fingerprint_with(inputs, *change) for change in CHANGES.items()} | {fingerprint_with(inputs)}
    assert len(names) == len(CHANGES) + 1
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


def test_epsilon_decides_where_the_method_has_one(inputs: str) -> None:
    values = base()
    values["perturb"] |= {"method": "dp_pix"}
    names = set()
    for epsilon in (None, 1.0, 2.0):
        values["perturb"]["epsilon"] = epsilon
        names.add(fingerprint(Task("small", check_params(values)), MODEL, inputs))
    assert len(names) == 3


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
    of_point, changed = (fingerprint_with(inputs, *change, POINT) for change in ((None, None), (parameter, value)))
    assert (of_point != changed) == parameter.startswith("attack.")


def test_other_images_change_the_fingerprint_and_another_place_does_not(
    images: Path, inputs: str, tmp_path: Path
) -> None:
    shutil.copy(images, tmp_path / "moved.h5")
    assert fingerprint_of_inputs(code_of(MODEL), {"images": tmp_path / "moved.h5"}) == inputs
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    (tmp_path / "other.h5").write_bytes(content)
    other = fingerprint_of_inputs(code_of(MODEL), {"images": tmp_path / "other.h5"})
    assert other != inputs
    assert fingerprint_with(other) != fingerprint_with(inputs)


def test_the_name_of_the_group_counts(inputs: str) -> None:
    """It is in the row, and the only name of a point of the survey."""
    one, other = (fingerprint(Task(name, check_params(base())), POINT, inputs) for name in ("one", "other"))
    assert one != other


def test_every_file_that_is_shared_counts(images: Path, tmp_path: Path) -> None:
    (tmp_path / "public.h5").write_bytes(b"some")
    files = {"images": images, "public": tmp_path / "public.h5"}
    before = fingerprint_of_inputs(code_of(POINT), files)
    (tmp_path / "public.h5").write_bytes(b"others")
    assert fingerprint_of_inputs(code_of(POINT), files) != before


def test_a_missing_file_is_told(images: Path, tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError) as caught:
        fingerprint_of_inputs(code_of(POINT), {"images": images, "public": tmp_path / "none.h5"})
    assert str(caught.value) == (
        f"cannot read {tmp_path / 'none.h5'}: No such file or directory. Make it with `dvc repro`."
    )


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the packages, whose code the fingerprint is made of."""
    for name in ("privpipe", "studies"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "privpipe" / "pipeline" / "fingerprint.py"))
    return tmp_path


def changed_by(copied: Path, name: str, images: Path, inputs: str) -> bool:
    """Whether a line more in a module changes the fingerprint."""
    module = copied.joinpath(*name.split("."))
    source = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    text = source.read_text()
    source.write_text(f"{text}\nADDED = 1\n")
    found = fingerprint_of_inputs(code_of(MODEL), {"images": images})
    source.write_text(text)
    return found != inputs


def test_code_that_decides_a_figure_changes_the_fingerprint(copied: Path, images: Path, inputs: str) -> None:
    behind = Sources(copied).behind("studies.paper.model", WITHOUT)
    assert {"privpipe/nn/engine.py", "privpipe/perturb/gaussian_blur.py", "studies/paper/model.py"} <= set(behind)
    for path in behind:
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        assert changed_by(copied, name, images, inputs), path


def test_comments_in_the_code_do_not_change_the_fingerprint(copied: Path, images: Path, inputs: str) -> None:
    for source in copied.rglob("*.py"):
        source.write_text(f"# A comment.\n{source.read_text()}\n# Another.\n")
    assert fingerprint_of_inputs(code_of(MODEL), {"images": images}) == inputs


def test_code_beside_it_does_not_change_the_fingerprint(copied: Path, images: Path, inputs: str) -> None:
    beside = ("runner", "ledger", "grid", "attacked", "steps.attack", "steps.score")
    names = (*(f"privpipe.pipeline.{name}" for name in beside), "privpipe.report.page", "privpipe.attacks.network")
    for name in (*WITHOUT, *names, "studies.paper.columns", "studies.survey.point"):
        assert not changed_by(copied, name, images, inputs), name


def test_other_methods_do_not_change_what_is_measured_of_one(copied: Path) -> None:
    """Not even where the module of one is imported by no other: but what the method's own file imports counts."""
    before = {method: code_of(MODEL, method) for method in ("block_scramble", "pixelate")}
    for changed, felt in (("block_mix", set()), ("pixelate", {"pixelate"}), ("block_permutation", set())):
        source = copied / "privpipe" / "perturb" / f"{changed}.py"
        text = source.read_text()
        source.write_text(f"{text}\nADDED = 1\n")
        assert {method for method in before if code_of(MODEL, method) != before[method]} == felt
        source.write_text(text)
    (copied / "privpipe" / "perturb" / "another.py").write_text("ADDED = 1\n")
    assert code_of(MODEL, "pixelate") == before["pixelate"] and code_of(MODEL) != before["pixelate"]


def test_what_is_left_out_of_the_fingerprint_is_code_behind_a_model() -> None:
    left_out = {f"{name.replace('.', '/')}.py" for name in WITHOUT}
    assert left_out <= set(Sources(ROOT).behind("studies.paper.model"))
