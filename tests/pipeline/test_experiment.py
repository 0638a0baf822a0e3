"""One experiment in one process: its figures are those of the stages, which have files between them."""

import json
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import preloaded
import pytest
import torch
from click.testing import CliRunner
from small_sweep import ROOT, SECONDS, models, write_small_images
from yaml_dvc import commands

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import load_bundle
from privpipe.nn.training import Diverged
from privpipe.params import Params
from privpipe.pipeline.attacked import AttackedExperiment
from privpipe.pipeline.experiment import Experiment
from privpipe.pipeline.steps.score import Inputs
from privpipe.scores.scoring import published
from privpipe.store import PUBLIC

SCRAMBLE = {"method": "block_scramble", "k": 4}
ATTACK = {"targets": 12, "pairs": 5, "network_epochs": 1}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "plain": {"train": {"seed": 1, "epochs": 2, "batch_size": 7, "lr": 0.01, "lr_decay": 0.5, "reg": 0.1}},
    "filter": {"perturb": {"method": "random_filter", "k": 3, "scope": "image"}, "model": {"arch": "three_layer"}},
    "learned": {"perturb": SCRAMBLE, "model": {"arch": "descrambler", "penalty": "l2"}, "key": {"seed": 3}},
    "inferred": {"perturb": SCRAMBLE, "model": {"arch": "descrambler", "descrambler": "inferred"}},
}
STAGES = ("keygen", "perturb", "leak", "reference_classifier", "train", "evaluate", "descramble", "attack", "score")
PARENT = """
import json, sys
from pathlib import Path
from privpipe.params import check_params
from privpipe.pipeline.experiment import Experiment

Path(sys.argv[3]).parent.mkdir(parents=True, exist_ok=True)
params = check_params(json.loads(sys.argv[1]))
experiment = Experiment(params, Path(sys.argv[2]), Path(sys.argv[3]))
print(json.dumps(experiment.evaluation.metrics))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_images(tmp_path_factory.mktemp("images") / "images.h5")


def parameters(folder: Path, name: str = "plain") -> Params:
    (task,) = models(folder, {**EXPERIMENTS[name], "attack": ATTACK})
    return task.params


def run_stages(params: Params, names: tuple[str, ...]) -> None:
    """The commands of dvc.yaml in the current folder, from raw images on."""
    Path("params.yaml").write_text(json.dumps(params.model_dump()))
    declared = commands(ROOT)
    for name in names:
        done = CliRunner().invoke(import_module(f"stages.{name}").main, declared[name].split()[3:])
        assert done.exit_code == 0, done.output


def write_files(folder: Path) -> None:
    """Raw and public images where the stages look for them."""
    (folder / "data" / "private").mkdir(parents=True)
    write_small_images(folder / "data" / "private" / "images.h5")
    others = draw(40, 16, rng=np.random.default_rng(7))
    write_images(folder / "data" / "public.h5", others, others, {"train": np.arange(40)}, PUBLIC)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_figures_are_those_of_the_stages(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, of each metrics file; attacks, which take longest, for one experiment alone."""
    attacked = name == "learned"
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    params = parameters(tmp_path / "grid", name)
    run_stages(params, STAGES if attacked else ("keygen", "perturb", "train", "evaluate", "descramble"))
    private = tmp_path / "data" / "private"
    inputs = Inputs(
        private / "images.h5",
        tmp_path / "data" / "public.h5",
        private / "leaked.h5",
        tmp_path / "models" / "reference_classifier.safetensors",
    )
    experiment = AttackedExperiment(params, inputs, tmp_path / "scratch")

    def noted(name: str) -> dict[str, Any]:
        metrics: dict[str, Any] = json.loads((tmp_path / "metrics" / f"{name}.json").read_text())
        metrics.pop("not_measured", None)
        return metrics

    assert noted("perturb") == experiment.perturbing
    assert experiment.perturbed.read_bytes() == (tmp_path / "data" / "perturbed.h5").read_bytes()
    assert noted("train") == experiment.training.metrics
    assert noted("evaluate") == experiment.evaluation.metrics
    assert noted("descrambler") == experiment.descrambler.metrics
    if attacked:
        assert noted("privacy") == published(experiment.judgement.metrics)
        assert {record.level for record in experiment.records} == {"L0", "L1", "L2"}


def test_the_accuracy_is_that_of_the_model_on_the_perturbed_images(images: Path, tmp_path: Path) -> None:
    """Counted here, from the files."""
    experiment = Experiment(parameters(tmp_path, "filter"), images, tmp_path / "scratch")
    metrics = experiment.evaluation.metrics
    (model,) = (tmp_path / "scratch").glob("*.safetensors")
    bundle = load_bundle(model)
    with h5py.File(experiment.perturbed) as file, h5py.File(images) as raw:
        for split in ("val", "test"):
            shown, labels = file[split]["images"][:], raw[split]["labels"][:]
            assert not np.allclose(shown, raw[split]["images"][:])
            scores = bundle.model.eval()(bundle.normalise(torch.from_numpy(shown)))
            assert metrics[f"{split}_accuracy"] == (scores.argmax(1).numpy() == labels).mean()


def test_only_what_is_asked_for_is_done(images: Path, tmp_path: Path) -> None:
    experiment = Experiment(parameters(tmp_path), images, tmp_path / "scratch")
    assert experiment.perturbing["n_train"] == 60
    assert {path.suffix for path in (tmp_path / "scratch").iterdir()} == {".h5", ".json"}
    assert experiment.training.bundle.method == "none"
    assert {path.suffix for path in (tmp_path / "scratch").iterdir()} == {".h5", ".json", ".safetensors"}


def test_experiments_that_follow_each_other_share_the_perturbed_images(images: Path, tmp_path: Path) -> None:
    scrambles = models(tmp_path, {"perturb": {**SCRAMBLE, "k": [4, 8]}, "model": {"arch": ["baseline", "three_layer"]}})
    others = models(tmp_path, {"perturb": {**SCRAMBLE, "k": 8, "scope": ["dataset", "image"]}, "key": {"seed": 1}})
    seen = []
    for task in (*scrambles, *others):
        path = Experiment(task.params, images, tmp_path / "scratch").perturbed
        seen.append((path.name, path.stat().st_mtime_ns))
        left = {file.name for file in (tmp_path / "scratch").glob("*.h5")}
        assert left == {path.name, path.with_suffix(".queries.h5").name}  # what nobody needs any more is gone
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert len(set(seen)) == 4


def test_images_that_a_killed_process_left_unfinished_are_made_again(images: Path, tmp_path: Path) -> None:
    """As after a kill before the last file was written, by a process with the same number."""
    params = parameters(tmp_path, "learned")
    first = Experiment(params, images, tmp_path / "scratch")
    expected = first.perturbed.read_bytes()
    first.perturbed.with_suffix(".json").unlink()
    first.perturbed.write_bytes(expected[:100])
    assert Experiment(params, images, tmp_path / "scratch").perturbed.read_bytes() == expected


def test_a_training_that_comes_to_nothing_is_told(images: Path, tmp_path: Path) -> None:
    (task,) = models(tmp_path, {"train": {"lr": 1e30}})
    experiment = Experiment(task.params, images, tmp_path / "scratch")
    with pytest.raises(Diverged):
        _ = experiment.evaluation
    assert experiment.perturbing["n_test"] == 20


def test_wrong_images_are_told(images: Path, tmp_path: Path) -> None:
    params = parameters(tmp_path, "learned")
    with pytest.raises(PrivpipeError, match=r"none.h5 is missing"):
        _ = Experiment(params, tmp_path / "none.h5", tmp_path / "scratch").evaluation
    (tmp_path / "half.h5").write_bytes(images.read_bytes()[:5000])
    with pytest.raises(PrivpipeError, match=r"half.h5"):
        _ = Experiment(params, tmp_path / "half.h5", tmp_path / "scratch").evaluation
    already = Experiment(params, images, tmp_path / "scratch").perturbed
    with pytest.raises(PrivpipeError, match=already.name):
        _ = Experiment(params, already, tmp_path / "other").perturbed


def test_a_second_process_at_the_same_time_gets_the_same_figures(images: Path, tmp_path: Path) -> None:
    params = parameters(tmp_path, "learned")
    folders = [str(tmp_path / name / "worker") for name in ("one", "two")]
    both = [
        subprocess.Popen(
            [preloaded.python(), "-c", PARENT, json.dumps(params.model_dump()), str(images), folder],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
        )
        for folder in folders
    ]
    told = [json.loads(process.communicate(timeout=SECONDS)[0]) for process in both]
    here = Experiment(params, images, tmp_path / "scratch").evaluation.metrics
    assert told == [here, here]
