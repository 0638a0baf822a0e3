"""`dvc repro`: what it makes, what it repeats, and what it refuses."""

import hashlib
import json
import re

import pytest
import yaml_dvc
from projects import Project, set_params

from privpipe.owner.key import new_key, write_reference

pytestmark = pytest.mark.pipeline

IMAGES = {
    "psnr", "psnr_worst", "ssim", "ssim_worst", "reidentified_top1", "reidentified_top5", "recognised",
}  # fmt: skip
OF_KEYS = {"key_recovery", "blocks_recovered"}
OF_THE_BEST = {"confidence", "attack"}
GUESSED = {"reidentified_top1", "reidentified_top5", "recognised"} | OF_KEYS
KEYS = {
    "privacy": {
        *(f"l{level}_{name}" for level in range(4) for name in IMAGES | OF_KEYS | OF_THE_BEST),
        *(f"{baseline}_{name}" for baseline in ("mean_image", "perturbed", "other_image") for name in IMAGES),
        *(f"chance_{name}" for name in GUESSED),
        *(f"{data}_for_{share}" for data in ("images", "pairs") for share in (50, 90, 99)),
        "original_recognised",
        "second_release_setting", "second_release_gain_db", "second_release_independent_gain_db",
        "second_release_filters_found",
        "identified_candidates", "identified_prior", "identified_exactly", "identified_bits", "identified_guesses",
        "identified_at_most", "identified_at_least",
        *(f"identified_{kind}_why" for kind in ("exactly", "at_most", "at_least")),
        "grown_release_changed", "grown_release_gain_db", "second_release_problem",
    },
    "perturb": {"n_train", "n_val", "n_test", "bytes", "rms_change", "key_fingerprint", "key_research"},
    "train": {"device", "precision", "final_train_loss", "descrambler_confidence"},
    "times/train": {"seconds", "images_per_second", "descrambler_seconds"},
    "times/attack": {"seconds", "l0_seconds", "l1_seconds", "l2_seconds"},
    "evaluate": {
        "val_accuracy", "val_loss", "test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_loss",
    },
    "descrambler": {
        "blocks_exact", "blocks_none", "pixels_right",
        "chance_blocks_exact", "chance_blocks_none", "chance_pixels_right", "not_measured",
    },
}  # fmt: skip


def stages_of(output: str) -> list[str]:
    """The stages that a `dvc repro` ran, by what it printed."""
    return re.findall(r"Running stage '(\w+)'", output)


def digests(project: Project) -> dict[str, str]:
    """Checksum of every output of the pipeline but the measured times."""
    outs = [path for path in yaml_dvc.outputs(project.folder) if not yaml_dvc.is_times(path)]
    return {path: hashlib.sha256(project.read(path)).hexdigest() for path in outs}


def test_every_output_is_there_and_the_metrics_have_their_keys(reproduced: Project) -> None:
    outputs = yaml_dvc.outputs(reproduced.folder)
    assert set(outputs) - set(digests(reproduced)) == {
        *("metrics/times/train.json", "metrics/times/attack.json", "plots/times.csv", "reports/times.html")
    }
    assert len(digests(reproduced)) == 29
    assert all(reproduced.read(path) for path in outputs)
    for name, keys in KEYS.items():
        assert set(reproduced.metrics(name)) == keys
    evaluate = reproduced.metrics("evaluate")
    assert evaluate["test_accuracy_low"] < evaluate["test_accuracy"] < evaluate["test_accuracy_high"]


def test_git_sees_neither_data_nor_key_nor_model(reproduced: Project) -> None:
    tracked = reproduced.run("git", "ls-files").stdout.splitlines()
    assert "metrics/evaluate.json" in tracked
    assert not [path for path in tracked if re.search(r"\.(h5|safetensors|html)$|key\.json|^data/|^plots/.*png", path)]
    assert reproduced.run("git", "status", "--porcelain").stdout == ""


def test_a_second_repro_does_nothing(reproduced: Project) -> None:
    assert "up to date" in reproduced.dvc("repro")


def test_train_lr_reruns_train_and_what_follows_but_not_perturb(project: Project) -> None:
    set_params(project, {"train.lr": 0.002})
    # DVC promises no order between stages that do not depend on each other, such as evaluate and descramble.
    ran = stages_of(project.dvc("repro"))
    assert ran[0] == "train" and ran[-1] == "report"
    assert sorted(ran[1:-1]) == ["descramble", "evaluate"]


def test_a_comment_reruns_no_stage_and_a_line_those_that_can_feel_it(project: Project) -> None:
    project.edit("privpipe/perturb/gaussian_blur.py", "import cv2", "# a comment\nimport cv2")
    assert stages_of(project.dvc("repro")) == ["code"]
    project.edit("privpipe/perturb/gaussian_blur.py", "import cv2", "import cv2\n\nADDED = 1")
    # Its result has the same bytes, so that nothing after it runs again either, but for the report that draws it.
    # The adversary knows the methods too, and the descrambler's score asks the registry of methods.
    assert sorted(stages_of(project.dvc("repro"))) == ["attack", "code", "descramble", "perturb", "report", "score"]


def test_a_stage_that_is_run_alone_feels_a_changed_line(project: Project) -> None:
    project.edit("privpipe/nn/statistics.py", "def wilson_interval", "ADDED = 1\n\n\ndef wilson_interval")
    assert stages_of(project.dvc("repro", "evaluate")) == ["code", "evaluate"]


def test_the_same_inputs_give_the_same_bytes(project: Project) -> None:
    before = digests(project)
    project.dvc("repro", "--force", "--no-run-cache", preload=False)  # with another seed of hashing in every stage
    assert digests(project) == before


def test_wrong_parameters_are_refused_before_any_work(project: Project) -> None:
    set_params(project, {"perturb.k": 5, "data.n_train": 300})
    out = project.dvc("repro", ok=False)
    assert "perturb.k must divide data.image_size=16" in out and "got 5. Use one of 1, 2, 4, 8, 16." in out
    assert "Traceback" not in out
    assert "failed to reproduce 'download'" in out


def test_other_methods_write_the_same_keys_and_null_for_the_descrambler(project: Project) -> None:
    set_params(project, {"perturb.method": "gaussian_blur", "perturb.k": 3, "model.arch": "three_layer"})
    project.dvc("repro")
    for name, keys in KEYS.items():
        assert set(project.metrics(name)) == keys
    scores = project.metrics("descrambler")
    assert scores.pop("not_measured") == "model.arch is three_layer: it has no descrambler layer"
    assert set(scores.values()) == {None}
    assert project.read("plots/descrambler.csv") == b"pixels_right,blocks,blocks_by_chance\n"
    shown = project.json("plots", "show", "--json")
    assert not shown.get("errors")


def test_a_real_key_survives_reruns_and_research_keys(project: Project) -> None:
    set_params(project, {"key.seed": None})
    project.dvc("repro", "keygen")
    reference, secret = project.read("data/private/key.json"), project.secret()
    assert json.loads(reference)["research"] is False
    project.dvc("repro", "--force", "keygen")
    assert project.read("data/private/key.json") == reference
    set_params(project, {"key.seed": 1})
    project.dvc("repro", "keygen")
    assert json.loads(project.read("data/private/key.json"))["seed"] == 1
    set_params(project, {"key.seed": None})
    project.dvc("repro", "keygen")
    assert project.read("data/private/key.json") == reference
    assert project.secret() == secret


def test_a_secret_that_an_earlier_version_left_is_not_replaced_by_a_research_key(project: Project) -> None:
    path = project.folder / "data/private/key.json"
    path.unlink()
    project.run("privpipe", "key", "new", str(path))
    before = path.read_bytes()
    out = project.dvc("repro", "keygen", ok=False)
    assert "holds a real key" in out and "Nothing was changed" in out
    assert path.read_bytes() == before
    set_params(project, {"key.seed": None})
    project.dvc("repro", "keygen")
    assert project.secret() == json.loads(before)["secret"]
    held = [file.read_bytes() for file in project.folder.rglob("*") if file.is_file()]
    assert not any(project.secret().encode() in content for content in held)


def test_a_key_other_than_the_one_that_perturbed_is_refused(project: Project) -> None:
    write_reference(project.folder / "data/private/key.json", new_key(99))
    command = yaml_dvc.commands(project.folder)["descramble"]
    done = project.run(*command.split(), ok=False)
    assert done.returncode == 1
    wrong = f"the research key {new_key(99).fingerprint} is not the one of models/model.safetensors"
    assert wrong in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stage", ["perturb", "train", "evaluate", "descramble", "attack", "score", "report"])
def test_a_stage_refuses_a_cut_input_and_leaves_its_outputs(project: Project, stage: str) -> None:
    source = {"perturb": "data/private/images.h5", "descramble": "models/model.safetensors"}
    cut = project.folder / source.get(stage, "data/perturbed.h5")
    content = cut.read_bytes()
    cut.unlink()
    cut.write_bytes(content[: len(content) // 2])
    before = {path: digest for path, digest in digests(project).items() if not cut.match(path)}
    done = project.run(*yaml_dvc.commands(project.folder)[stage].split(), ok=False)
    assert done.returncode == 1
    assert "damaged" in done.stderr and "Traceback" not in done.stderr
    assert before == {path: digest for path, digest in digests(project).items() if not cut.match(path)}
    assert not list(project.folder.rglob("*.partial"))
