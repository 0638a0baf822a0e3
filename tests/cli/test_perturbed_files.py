"""Perturbed queries in files, from `privpipe perturb` to `privpipe predict --perturbed` and to the served ONNX file."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calls import good, refused, run
from leaks.commands import blocks
from PIL import Image

from privpipe.nn.bundle import load_bundle, save_bundle
from privpipe.nn.input_statistics import measure_inputs
from privpipe.owner.perturbing import perturbation
from privpipe.store import PERTURBED, open_store

ROOT = Path(__file__).parents[2]
Make = Callable[..., Any]


def perturb(made: Any, out: str, *words: object, images: Path | None = None) -> str:
    key = ("--key", made / "key.json")
    where = ("--params", made / "params.yaml", "--out", out)
    return good("perturb", *key, *where, *words, images or made / "images").stderr


def predict(made: Any, *words: object) -> list[dict[str, Any]]:
    answer = good("predict", "--model", made / "model.safetensors", "--top", 3, "--json", *words).stdout
    rows: list[dict[str, Any]] = json.loads(answer)
    return rows


def with_statistics(made: Any) -> None:
    """The model file as training writes it."""
    with open_store(made / "perturbed.h5", PERTURBED) as store:
        statistics = measure_inputs([torch.from_numpy(store.images("train"))])
    save_bundle(made / "model.safetensors", replace(made.bundle, statistics=statistics))


@pytest.mark.parametrize(("method", "scope"), [("block_scramble", "image"), ("random_filter", "dataset")])
def test_every_lossless_form_gets_the_answers_of_the_images(experiment: Make, method: str, scope: str) -> None:
    made = experiment(method, scope)
    (made / "images/inner").mkdir()
    (made / "images/inner/9.png").write_bytes(made.image_paths[0].read_bytes())
    expected = predict(made, "--key", made / "key.json", made / "images")
    applied = perturbation(made.settings, 8, made.key).apply(made.images)
    perturb(made, "npy", "--format", "npy")
    for i, image in enumerate(applied):
        stored = np.load(f"npy/{i}.npy")
        assert stored.dtype == image.dtype and np.array_equal(stored, image)
    perturb(made, "all.h5", "--format", "h5")
    with Path("all.csv").open(newline="") as file:
        assert [(row["row"], row["file"]) for row in csv.DictReader(file)] == [
            (str(i), row["file"]) for i, row in enumerate(expected)
        ]
    content = Path("all.h5").read_bytes()
    assert b"0.png" not in content and b"images/" not in content  # it names no file
    assert "privpipe-perturbed, 5 images" in good("verify", "all.h5").stdout
    forms = [predict(made, "--perturbed", "npy"), predict(made, "--perturbed", "all.h5")]
    if method == "block_scramble":
        perturb(made, "png")
        forms.append(predict(made, "--perturbed", "png"))
    for form in forms:
        assert [row["top"] for row in form] == [row["top"] for row in expected]
    assert [row["file"] for row in forms[0]][-2:] == ["npy/3.npy", "npy/inner/9.npy"]
    assert forms[1][4]["file"] == "all.h5:test/4"


def test_names_of_files_stay_with_their_owner(experiment: Make) -> None:
    made = experiment("block_scramble")
    subprocess.run(["git", "init", "--quiet"], check=True)
    Path(".gitignore").write_text("*.h5\n/out/\n")
    key, where = ("--key", made / "key.json"), ("--params", made / "params.yaml")
    words = ("perturb", *key, *where, "--format", "h5", made / "images")
    message = refused(*words, "--out", "queries.h5")
    assert message.startswith("Error: files of --out lie in the clone ")
    assert "would take queries.csv: names of your files would be published." in message
    assert not Path("queries.h5").exists() and not Path("queries.csv").exists()
    good(*words, "--out", "out/queries.h5")
    assert Path("out/queries.csv").stat().st_mode & 0o777 == 0o600


def test_a_stretched_png_is_named_and_refused(experiment: Make) -> None:
    made = experiment("random_filter")
    assert "random_filter gives floats: the PNGs are stretched for display, not exact" in perturb(made, "png")
    words = ("predict", "--perturbed", "--model", made / "model.safetensors")
    message = refused(*words, "png/0.png")
    assert "png/0.png holds uint8 of 8x8x3; the model takes perturbed images, float16 of 8x8x3" in message
    np.save("nan.npy", np.full((8, 8, 3), np.nan, np.float16))
    np.save("large.npy", np.zeros((9, 9, 3), np.float16))
    np.save("pickle.npy", np.array([None]), allow_pickle=True)
    Path("cut.npy").write_bytes(Path("nan.npy").read_bytes()[:-1])
    with Path("several.npy").open("wb") as file:
        np.savez(file, np.zeros((8, 8, 3), np.float16))
    Path("zip.npy").write_bytes(Path("several.npy").read_bytes()[:40])
    Path("\x1b[2Jsteers.npy").write_bytes(b"")
    others = ("several.npy", "zip.npy", "\x1b[2Jsteers.npy")
    result = run(*words, "nan.npy", "large.npy", "pickle.npy", "cut.npy", "none.npy", made / "images.h5", *others)
    assert result.exit_code == 1 and not result.stdout
    for part in (
        "nan.npy has values that are not finite",
        "large.npy holds float16 of 9x9x3",
        "pickle.npy is neither PNG nor NPY, or damaged",
        "cut.npy is neither PNG nor NPY, or damaged",
        "several.npy is neither PNG nor NPY, or damaged",
        "zip.npy is neither PNG nor NPY, or damaged",
        "?[2Jsteers.npy is neither PNG nor NPY, or damaged",
        "none.npy is missing",
        "images.h5 must be a privpipe-perturbed file",
    ):
        assert part in result.stderr


def test_a_set_of_another_key_is_refused_and_none_is_half_written(experiment: Make) -> None:
    made = experiment("block_scramble")
    perturb(made, "all.h5", "--format", "h5")
    save_bundle(made / "other.safetensors", replace(load_bundle(made / "model.safetensors"), key_fingerprint="0" * 16))
    message = refused("predict", "--perturbed", "--model", made / "other.safetensors", "all.h5")
    assert "fingerprint of the key" in message
    words = ("perturb", "--key", made / "key.json", "--params", made / "params.yaml", "--format", "h5", "--out")
    assert "all.h5 exists. Name another --out, or pass --force" in refused(*words, "all.h5", made / "images")
    assert "--out must end in .h5 with --format h5" in refused(*words, "folder", made / "images")
    bad = made / "images/bad.png"
    bad.write_bytes(b"no image")
    assert "bad.png" in refused(*words, "new.h5", made / "images")
    assert sorted(path.name for path in Path().iterdir()) == ["all.csv", "all.h5"]


def test_inputs_unlike_the_training_images_are_warned_of(experiment: Make) -> None:
    made = experiment("block_scramble", "image")
    with_statistics(made)
    words = ("predict", "--model", made / "model.safetensors", "--key", made / "key.json")
    assert "WARNING" not in good(*words, made / "images").stderr
    Image.fromarray(np.full((8, 8, 3), 250, np.uint8)).save("flat.png")
    shown = good(*words, "flat.png", made / "images")
    assert "WARNING: 1 of 5 images are unlike those that the model was trained on" in shown.stderr
    assert "flat.png: its level is 250 and theirs " in shown.stderr and len(shown.stdout.splitlines()) == 6
    np.save("dark.npy", (made.images[0] // 255).astype(np.uint8))  # 0..1 for 0..255
    assert "dark.npy: its level is" in good(*words[:3], "--perturbed", "dark.npy").stderr


@pytest.mark.parametrize("method", ["block_scramble", "random_filter"])
def test_the_program_of_the_documents_serves_the_model(experiment: Make, method: str) -> None:
    made = experiment(method)
    with_statistics(made)
    perturb(made, "queries", "--format", "npy")
    expected = predict(made, "--key", made / "key.json", made / "images")
    good("export", "--model", made / "model.safetensors", "--out", "model.onnx")
    (program,) = blocks((ROOT / "docs/serving.md").read_text(), "python")
    Path("serve.py").write_text(program)

    def served(*paths: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-I", "serve.py", "model.onnx", *map(str, paths)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    wrong = np.load("queries/0.npy").astype(np.float32) * (1 / 255 if method == "block_scramble" else 255)
    np.save("wrong.npy", wrong.astype(made.bundle.dtype))
    ran = served(*sorted(Path("queries").iterdir()), "wrong.npy")
    assert (ran.returncode, ran.stderr.count("WARNING")) == (0, 1)
    assert "wrong.npy is unlike the training images: level, contrast" in ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines()[:-1]]
    assert [answer["class"] for answer in answers] == [row["class"] for row in expected]
    for answer, row in zip(answers, expected, strict=True):
        by_name = {one["class"]: one["probability"] for one in row["top"]}
        assert dict(zip(made.bundle.class_names, answer["probabilities"], strict=True)) == pytest.approx(
            by_name, abs=1e-4
        )
    np.save("wrong.npy", wrong)
    assert "wrong.npy: float32 of (8, 8, 3); the model takes" in served("wrong.npy").stderr
