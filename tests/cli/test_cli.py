"""The command line as a person with images meets it."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import good, pixels, refused, run

from privpipe.attacks.records import save_records
from privpipe.owner.key import new_key, write_key, write_reference
from privpipe.owner.keyhome import keep, read_key
from privpipe.owner.perturbing import perturbation
from privpipe.store import PERTURBED, RAW, open_store

Make = Callable[..., Any]
KEY_COMMANDS = [f"key {name}" for name in ("new", "show", "list", "import", "export", "replace")]
COMMANDS = [*KEY_COMMANDS, "init", "perturb", "inspect", "predict", "verify", "export", "doctor"]
FLOATS = ["random_filter", "gaussian_noise"]


def test_help_is_there_and_imports_nothing_heavy() -> None:
    script = Path(sys.executable).with_name("privpipe")
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert "perturb" in shown.stdout
    assert "_PRIVPIPE_COMPLETE=bash_source privpipe" in shown.stdout
    assert not shown.stderr
    code = (
        "import sys\nfrom privpipe.cli.main import main\n"
        "try: main(['predict', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'cv2', 'numpy', 'h5py', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str) -> None:
    text = good(*command.split(), "--help").stdout
    assert "Examples:\n    privpipe " + command in text.replace("\n  Examples", "\nExamples")


def test_completion_is_clicks_own() -> None:
    script = Path(sys.executable).with_name("privpipe")
    environment = {**os.environ, "_PRIVPIPE_COMPLETE": "bash_complete", "COMP_WORDS": "privpipe pre", "COMP_CWORD": "1"}
    shown = subprocess.run([script], capture_output=True, text=True, env=environment)
    assert "predict" in shown.stdout


def test_interrupting_leaves_no_traceback(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = experiment("none")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("privpipe.cli.perturbed_files.read_image", interrupt)
    result = run("perturb", "--params", made / "params.yaml", "--out", "x.png", made.image_paths[0])
    assert (result.exit_code, result.stderr.split()[-1]) == (1, "Aborted!")
    assert not list(Path().iterdir())


# perturb


@pytest.mark.parametrize("method", ["block_scramble", "gaussian_blur", "none"])
def test_perturbed_images_hold_the_exact_values(experiment: Make, method: str) -> None:
    made = experiment(method)
    key = ["--key", made / "key.json"] if method == "block_scramble" else []
    shown = good("perturb", *key, "--params", made / "params.yaml", "--out", "out", made / "images")
    with open_store(made / "perturbed.h5", PERTURBED) as store:
        rows = store.images("test")
    found = [pixels(Path(f"out/{i}.png")) for i in range(4)]
    assert np.array_equal(found, rows)
    assert shown.stdout == "4 images written to out\n"
    assert ("the results are the images themselves" in shown.stderr) == (method == "none")


@pytest.mark.parametrize("method", FLOATS)
def test_floats_are_stretched_and_it_says_so(experiment: Make, method: str) -> None:
    made = experiment(method)
    words = ("perturb", "--key", made / "key.json", "--params", made / "params.yaml", "--out", "x.png")
    shown = good(*words, made.image_paths[0])
    assert f"{method} gives floats: the PNGs are stretched for display, not exact" in shown.stderr
    exact = perturbation(made.settings, 8, made.key).apply(made.images[:1])[0].astype(float)
    stretched = 255 * (exact - exact.min()) / (exact.max() - exact.min())
    assert np.abs(pixels(Path("x.png")) - stretched).max() <= 0.5 + 1e-9


def test_a_research_key_that_perturbs_warns(experiment: Make) -> None:
    made = experiment("block_scramble", seed=0)
    key, image = ("--key", made / "key.json"), made.image_paths[0]
    words = ("perturb", *key, "--params", made / "params.yaml", "--out", "x.png", image)
    assert "WARNING: a research key protects nothing" in good(*words).stderr
    words = ("predict", *key, "--model", made / "model.safetensors", image)
    assert "WARNING: a research key protects nothing" in good(*words).stderr


def test_results_replace_nothing_unasked(experiment: Make) -> None:
    made = experiment("none")
    words = ("perturb", "--params", made / "params.yaml", "--out")
    first, second = made.image_paths[:2]
    good(*words, "out", first)
    before = Path("out/0.png").read_bytes()
    Path("out/0.png").write_bytes(b"mine")
    assert "out/0.png exists. Name another --out, or pass --force" in refused(*words, "out", first, second)
    assert not Path("out/1.png").exists()  # everything is checked before anything is written
    good(*words, "out", "--force", first)
    assert Path("out/0.png").read_bytes() == before


def test_an_image_that_is_read_is_never_replaced(experiment: Make) -> None:
    made = experiment("none")
    words, image = ("perturb", "--params", made / "params.yaml", "--force", "--out"), made.image_paths[0]
    before = image.read_bytes()
    assert "is one of the images that are read" in refused(*words, made / "images", image)
    assert "is one of the images that are read" in refused(*words, image, image)
    assert "whose images are read" in refused(*words, made / "images/out", made / "images")
    assert image.read_bytes() == before


def test_where_results_cannot_go(experiment: Make) -> None:
    made = experiment("none")
    words = ("perturb", "--params", made / "params.yaml", "--out")
    assert "x.png is one file, and there are 4 images. Name a folder" in refused(*words, "x.png", made / "images")
    assert "must be a folder, or end in .png" in refused(*words, "x.jpg", made.image_paths[0])
    copy = made / "0.jpg"
    copy.write_bytes(made.image_paths[0].read_bytes())
    assert "would both be written to out/0.png" in refused(*words, "out", made.image_paths[0], copy)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("out", ["run.v2/", "run.v2", "2024.05.01"])
def test_a_new_folder_may_have_a_dot_in_its_name(experiment: Make, out: str) -> None:
    made = experiment("none")
    good("perturb", "--params", made / "params.yaml", "--out", out, made / "images")
    assert len(list(Path(out).glob("*.png"))) == 4


def test_unreadable_images_among_good_ones(experiment: Make) -> None:
    made = experiment("none")
    bad, empty = made / "bad.jpg", made / "empty"
    bad.write_bytes(b"\xff\xd8 no image")
    empty.mkdir()
    (made / "loop.png").symlink_to("loop.png")
    paths = (bad, made.image_paths[0], empty, made / "missing.png", made / "loop.png", made.image_paths[1])
    result = run("perturb", "--params", made / "params.yaml", "--out", "out", *paths)
    assert result.exit_code == 1
    assert result.stdout == "2 images written to out\n"
    assert sorted(path.name for path in Path("out").iterdir()) == ["0.png", "1.png"]
    result = run("predict", "--model", made / "model.safetensors", "--json", *paths)
    assert result.exit_code == 1
    assert [row["file"] for row in json.loads(result.stdout)] == [str(path) for path in made.image_paths[:2]]
    for part in (str(bad), f"{empty} holds no images", str(made / "missing.png"), str(made / "loop.png")):
        assert part in result.stderr


def test_folders_keep_their_order_below_the_result(experiment: Make) -> None:
    made = experiment("none")
    inner = made / "images" / "inner"
    inner.mkdir()
    (inner / "0.png").write_bytes((made / "images/1.png").read_bytes())
    good("perturb", "--params", made / "params.yaml", "--out", "out", made / "images")
    assert np.array_equal(pixels(Path("out/inner/0.png")), made.images[1])
    assert np.array_equal(pixels(Path("out/0.png")), made.images[0])


def test_a_key_is_needed_where_the_method_has_one(experiment: Make) -> None:
    made = experiment("block_scramble")
    message = refused("perturb", "--params", made / "params.yaml", "--out", "x.png", made.image_paths[0])
    assert "block_scramble needs the key of the training set; got none. Pass it with --key" in message


# inspect


def test_inspect_shows_what_an_adversary_sees(experiment: Make) -> None:
    made = experiment("block_scramble")
    text = good("inspect", made / "perturbed.h5").stdout
    for part in ("block_scramble, k = 4, scope dataset", "8 x 8, 3 channels, uint8", "train 6, val 2, test 4"):
        assert part in text
    assert "3: ant, bee, cow" in text
    assert "without the key: treat the images as readable" in text
    seen = json.loads(good("inspect", made / "perturbed.h5", "--json").stdout)
    assert seen["counts"] == {"train": 6, "val": 2, "test": 4}
    assert (seen["method"], seen["k"], seen["scope"], seen["known_to_fall"]) == ("block_scramble", 4, "dataset", True)
    assert (seen["sigma"], seen["key_fingerprint"]) == (0, made.key.fingerprint)
    assert f"key:     fingerprint {made.key.fingerprint}" in text
    with open_store(made / "perturbed.h5", PERTURBED) as store:
        every = np.concatenate([store.images(split) for split in ("train", "val", "test")])
    assert seen["values"] == [every.min(), every.max()]


def test_inspect_shows_the_noise_and_that_there_is_no_key(experiment: Make) -> None:
    made = experiment("gaussian_noise")
    assert "gaussian_noise, k = 3, scope dataset, sigma = 40" in good("inspect", made / "perturbed.h5").stdout
    made = experiment("none")
    assert "key:     none" in good("inspect", made / "perturbed.h5").stdout


@pytest.mark.parametrize(
    ("method", "scope", "falls", "words"),
    [
        ("random_filter", "dataset", True, "public images, without the key"),
        ("random_filter", "image", False, "key material of its own"),
        ("block_scramble", "image", False, "key material of its own"),
        ("gaussian_blur", "dataset", None, "No key is involved"),
        ("none", "dataset", True, "Nothing was done"),
    ],
)
def test_inspect_names_what_is_known_to_fall(
    experiment: Make, method: str, scope: str, falls: bool | None, words: str
) -> None:
    made = experiment(method, scope)
    seen = json.loads(good("inspect", made / "perturbed.h5", "--json").stdout)
    assert seen["known_to_fall"] is falls
    assert words in seen["verdict"]


@pytest.mark.parametrize("method", ["block_scramble", "random_filter"])
def test_the_sheet_shows_the_first_training_images(experiment: Make, method: str) -> None:
    made = experiment(method)
    good("inspect", made / "perturbed.h5", "--sheet", "sheet.png")
    shown = pixels(Path("sheet.png"))
    assert shown.shape == (2 * 66 + 2, 3 * 66 + 2, 3)  # 6 images of 8×8, enlarged 8 times, in 2 rows of 3
    with open_store(made / "perturbed.h5", PERTURBED) as store:
        fifth = store.rows("train", 4, 5)[0].astype(float)
    if method == "random_filter":
        fifth = np.rint(255 * (fifth - fifth.min()) / (fifth.max() - fifth.min()))
    assert np.array_equal(shown[68:132:8, 68:132:8], fifth)
    assert (shown[:2] == 255).all()


def test_inspect_refuses_raw_images_and_damage(experiment: Make) -> None:
    made = experiment("none")
    message = refused("inspect", made / "images.h5", "--sheet", "sheet.png")
    assert "images.h5 holds raw images: it must not leave its owner" in message
    (made / "perturbed.h5").write_bytes((made / "perturbed.h5").read_bytes()[:-500])
    assert "is damaged" in refused("inspect", made / "perturbed.h5", "--sheet", "sheet.png")
    assert "is missing" in refused("inspect", "missing.h5")
    assert not list(Path().iterdir())


# predict and export


def test_predictions_in_three_forms(experiment: Make) -> None:
    made = experiment("block_scramble", "image")
    words = (
        "predict",
        "--model",
        made / "model.safetensors",
        "--key",
        made / "key.json",
        "--top",
        2,
        made / "images",
    )
    rows = json.loads(good(*words, "--json").stdout)
    assert [Path(row["file"]).name for row in rows] == ["0.png", "1.png", "2.png", "3.png"]
    table = list(csv.DictReader(io.StringIO(good(*words, "--csv").stdout)))
    for row, line in zip(rows, table, strict=True):
        first, second = row["top"]
        assert (row["class"], row["probability"]) == (first["class"], first["probability"])
        assert (line["file"], line["class"], line["class_2"]) == (row["file"], first["class"], second["class"])
        assert (float(line["probability"]), float(line["probability_2"])) == (
            first["probability"],
            second["probability"],
        )
    shown = good(*words).stdout.splitlines()
    assert len(shown) == 1 + 2 * len(rows)
    assert shown[1].split()[-2:] == [rows[0]["class"], f"{rows[0]['probability']:.4f}"]


def test_the_wrong_key_is_refused(experiment: Make) -> None:
    made = experiment("block_scramble")
    write_key(made / "other.json", new_key(None))
    words = ("predict", "--model", made / "model.safetensors", made.image_paths[0], "--key")
    message = refused(*words, made / "other.json")
    assert f"the key {read_key(made / 'other.json').fingerprint} is not the one of " in message
    assert f"model.safetensors, which was made with {made.key.fingerprint}" in message
    assert not good(*words, made / "key.json").stderr


def test_a_reference_is_a_key_and_the_wrong_one_names_the_cure(
    experiment: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = experiment("block_scramble")
    monkeypatch.setenv("PRIVPIPE_KEYS", str(tmp_path / "keys"))
    monkeypatch.chdir(made.folder)
    words = ("predict", "--model", "model.safetensors", made.image_paths[0], "--key")
    write_reference("reference.json", made.key)
    assert "privpipe key import FILE" in refused(*words, "reference.json")
    write_reference("research.json", new_key(0))
    message = refused(*words, "research.json")
    assert f"the research key {new_key(0).fingerprint} is not the one of model.safetensors" in message
    assert f"made with {made.key.fingerprint}" in message
    assert f"{tmp_path / 'keys'} does not hold" in message
    assert "`privpipe key new FILE --seed N`" in message
    assert "`dvc exp apply`" in message and "`dvc checkout data/private/key.json`" in message
    place = keep(made.key)
    assert f"Pass {place}" in refused(*words, "research.json")
    good(*words, place)
    good(*words, "reference.json")
    place.chmod(0o640)
    assert f"Run `chmod 600 {place}`" in refused(*words, "reference.json")


def test_noise_takes_its_strength_from_the_model(experiment: Make) -> None:
    made = experiment("gaussian_noise")
    words = ("predict", "--model", made / "model.safetensors", "--key", made / "key.json", made.image_paths[0])
    assert "probability" in good(*words).stdout
    assert run(*words, "--sigma", 40).exit_code == 2


# verify


def test_verify_names_what_is_whole_and_what_is_not(experiment: Make) -> None:
    made = experiment("block_scramble")
    save_records(made / "r.h5", [])
    whole = [made / name for name in ("images.h5", "perturbed.h5", "model.safetensors", "r.h5")]
    assert good("verify", *whole).stdout.splitlines() == [
        f"{whole[0]}: ok, privpipe-images, 12 images",
        f"{whole[1]}: ok, privpipe-perturbed, 12 images",
        f"{whole[2]}: ok, privpipe-model, baseline",
        f"{whole[3]}: ok, privpipe-reconstructions, 0 runs of attacks",
    ]
    for path in whole:
        content = bytearray(path.read_bytes())
        place = -1
        if path.name == "images.h5":  # opening it reads no image
            with open_store(path, RAW) as store:
                place = store.offsets["val"]
        content[place] ^= 4
        path.write_bytes(content)
    result = run("verify", *whole, made / "missing.h5", made / "key.json")
    assert (result.exit_code, result.stdout) == (1, "")
    problems = result.stderr.splitlines()
    for path, line in zip(whole, problems, strict=False):
        assert str(path) in line and "damaged" in line
    assert "missing.h5 is missing. Name an HDF5 or model file" in problems[4]
    assert "key.json is damaged: its first 512 bytes are not those of a privpipe file" in problems[5]


# export


def test_export_reports_the_agreement(experiment: Make) -> None:
    made = experiment("block_scramble", arch="descrambler")
    shown = good("export", "--model", made / "model.safetensors", "--out", "model.onnx").stdout
    assert shown.startswith("model.onnx: agrees with ")
    assert [path.name for path in Path().iterdir()] == ["model.onnx"]


def test_export_without_its_packages(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = experiment("none")
    monkeypatch.delitem(sys.modules, "privpipe.nn.export", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = refused("export", "--model", made / "model.safetensors", "--out", "model.onnx")
    assert message.endswith("Run `pip install 'privpipe[onnx]'`.")
    assert not list(Path().iterdir())
