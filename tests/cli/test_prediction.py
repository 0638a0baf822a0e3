"""Classified images: perturbed as the training set was, judged as the evaluation judges it, each for itself."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from privpipe.cli.prediction import (
    Prediction,
    as_csv,
    as_json,
    as_table,
    classify,
    load_classifier,
)
from privpipe.cli.queries import Query
from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import Bundle, load_bundle, save_bundle
from privpipe.nn.device import deterministic
from privpipe.nn.inference import evaluate, predict
from privpipe.owner.key import new_key
from privpipe.owner.perturbing import perturbation
from privpipe.store import PERTURBED, open_store

SIZE, SIGMA = 8, 40.0
Make = Callable[..., Any]
SHARED = [
    ("none", "dataset"),
    ("gaussian_blur", "dataset"),
    ("block_scramble", "dataset"),
    ("random_filter", "dataset"),
    ("gaussian_noise", "dataset"),
    ("correlated_noise", "dataset"),
]
OWN = [(method, "image") for method in ("block_scramble", "random_filter", "gaussian_noise", "correlated_noise")]


def run(made: Any, paths: list[Path], top: int = 3) -> list[Prediction]:
    """Classify files, none of which may fail."""
    classifier = load_classifier(made / "model.safetensors", lambda: made.key)
    failed: list[str] = []
    found = classify([Query(path, Path(path.name)) for path in paths], classifier, top, failed.append)
    assert not failed
    return found


def by_hand(bundle: Bundle, perturbed: NDArray[Any]) -> list[dict[str, float]]:
    """Class probabilities of perturbed images, from the scores of each image alone."""
    out = []
    with deterministic(1):
        for image in perturbed:
            scores = predict(bundle.model, bundle.normalise, torch.from_numpy(image[None]))[0].double()
            shares = (scores.exp() / scores.exp().sum()).tolist()
            out.append(dict(zip(bundle.class_names, shares, strict=True)))
    return out


def check(found: list[Prediction], expected: list[dict[str, float]]) -> None:
    assert len(found) == len(expected)
    for prediction, shares in zip(found, expected, strict=True):
        assert prediction.classes[0][0] == max(shares, key=lambda name: shares[name])
        assert dict(prediction.classes) == pytest.approx(shares, rel=1e-12, abs=1e-300)
        ranked = [p for _, p in prediction.classes]
        assert ranked == sorted(ranked, reverse=True)


@pytest.mark.parametrize(("method", "scope"), SHARED)
def test_images_are_judged_as_the_rows_of_the_perturbed_file(experiment: Make, method: str, scope: str) -> None:
    made = experiment(method, scope)
    with open_store(made / "perturbed.h5", PERTURBED) as store:
        rows, labels = store.images("test"), store.labels("test")
    found = run(made, made.image_paths)
    check(found, by_hand(made.bundle, rows))
    _, _, classes = evaluate(made.bundle.model, made.bundle.normalise, torch.from_numpy(rows), torch.from_numpy(labels))
    assert [prediction.classes[0][0] for prediction in found] == [made.bundle.class_names[i] for i in classes]


@pytest.mark.parametrize(("method", "scope"), OWN)
def test_a_query_has_the_key_material_of_its_pixels(experiment: Make, method: str, scope: str) -> None:
    made = experiment(method, scope)
    how = perturbation(made.settings, SIZE, made.key)
    queries = [how.apply(image[None])[0] for image in made.images]
    check(run(made, made.image_paths), by_hand(made.bundle, np.stack(queries)))
    with open_store(
        made / "perturbed.h5", PERTURBED
    ) as store:  # as the release has it, so that averaging gains nothing
        assert np.array_equal(queries, store.images("test"))  # no second draw to average with


@pytest.mark.parametrize(("method", "scope"), [*SHARED, *OWN])
def test_a_result_depends_neither_on_order_nor_company_nor_name(
    experiment: Make, method: str, scope: str, tmp_path: Path
) -> None:
    made = experiment(method, scope)
    first, *others = made.image_paths
    copy = tmp_path / "other name.png"
    copy.write_bytes(first.read_bytes())
    together = run(made, [first, *others])
    assert run(made, [*reversed(others), first])[-1] == together[0]
    assert run(made, [first]) == together[:1]
    assert run(made, [copy])[0].classes == together[0].classes


def test_without_the_key_it_is_another_result(experiment: Make) -> None:
    made, other = experiment("block_scramble"), new_key(7)
    right = run(made, made.image_paths)
    bundle = replace(load_bundle(made / "model.safetensors"), key_fingerprint=other.fingerprint)
    save_bundle(made / "other.safetensors", bundle)
    classifier = load_classifier(made / "other.safetensors", lambda: other)
    wrong = classify([Query(p, Path(p.name)) for p in made.image_paths], classifier, 3, pytest.fail)
    assert right != wrong


def test_failures_are_reported_and_the_others_classified(experiment: Make) -> None:
    made = experiment("none")
    bad, missing = made / "notes.jpg", made / "missing.jpg"
    bad.write_text("no image")
    classifier = load_classifier(made / "model.safetensors", pytest.fail)
    failed: list[str] = []
    paths = [made.image_paths[0], bad, missing, made.image_paths[1]]
    found = classify([Query(path, Path(path.name)) for path in paths], classifier, 1, failed.append)
    assert [prediction.file for prediction in found] == [str(made.image_paths[0]), str(made.image_paths[1])]
    assert len(failed) == 2
    assert str(bad) in failed[0]
    assert str(missing) in failed[1]


@pytest.mark.parametrize("sigma", [0.0, 90.0])
def test_noise_takes_its_strength_from_the_model(experiment: Make, sigma: float) -> None:
    made = experiment("gaussian_noise")
    save_bundle(made / "other.safetensors", replace(load_bundle(made / "model.safetensors"), sigma=sigma))
    if not sigma:
        with pytest.raises(PrivpipeError, match=r"gaussian_noise needs a noise strength over 0, .*; got 0\. Set"):
            load_classifier(made / "other.safetensors", lambda: made.key)
        return
    classifiers = [load_classifier(made / f"{name}.safetensors", lambda: made.key) for name in ("model", "other")]
    images = np.full((1, SIZE, SIZE, 3), 128, np.uint8)
    noises = [classifier.method.apply(images).astype(float) * 255 - images for classifier in classifiers]
    # Other strengths draw independent fields: of their 192 values, each deviation is known to 5 %.
    assert noises[1].std() / noises[0].std() == pytest.approx(90 / SIGMA, rel=0.2)


def test_a_keyed_method_without_a_key_is_refused(experiment: Make) -> None:
    made = experiment("block_scramble")
    with pytest.raises(PrivpipeError, match=r"block_scramble needs the key of the training set; got none\. .*--key"):
        load_classifier(made / "model.safetensors", lambda: None)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("method", "block_scrambel", "must be one of .*block_scramble.*Did you mean block_scramble"),
        ("k", 3, "k of block_scramble must be one of 1, 2, 4, 8 for images of 8 pixels; got 3"),
        ("scope", "images", "the scope must be one of dataset, image; got 'images'"),
        ("dtype", "float16", "not trained on images like those .*dtype 'float16' != 'uint8'"),
        ("image_range", (0.0, 1.0), "image range"),
    ],
)
def test_a_model_that_names_what_cannot_be(experiment: Make, field: str, value: object, message: str) -> None:
    made = experiment("block_scramble")
    bundle = load_bundle(made / "model.safetensors")
    object.__setattr__(bundle, field, value)
    save_bundle(made / "other.safetensors", bundle)
    with pytest.raises(PrivpipeError, match=message):
        load_classifier(made / "other.safetensors", lambda: made.key)


def test_scores_that_are_not_finite_are_no_classes(experiment: Make) -> None:
    made = experiment("none")
    bundle = load_bundle(made / "model.safetensors")
    with torch.no_grad():
        for weight in bundle.model.parameters():
            weight.fill_(1e30)
    save_bundle(made / "other.safetensors", bundle)
    classifier = load_classifier(made / "other.safetensors", pytest.fail)
    failed: list[str] = []
    assert classify([Query(made.image_paths[0], Path("0.png"))], classifier, 1, failed.append) == []
    assert "not finite" in failed[0]


def test_the_key_is_compared_with_the_training_sets(experiment: Make) -> None:
    made, other = experiment("block_scramble"), new_key(7)
    load_classifier(made / "model.safetensors", lambda: made.key)
    message = rf"{other.fingerprint} is not .*model\.safetensors, which was made with {made.key.fingerprint}\. "
    with pytest.raises(PrivpipeError, match=message):
        load_classifier(made / "model.safetensors", lambda: other)


def test_no_model_goes_without_a_fingerprint_where_a_key_is_needed(experiment: Make) -> None:
    made = experiment("block_scramble")
    save_bundle(made / "other.safetensors", replace(load_bundle(made / "model.safetensors"), key_fingerprint=""))
    with pytest.raises(PrivpipeError, match="was made with no key"):
        load_classifier(made / "other.safetensors", lambda: made.key)


FOUND = [
    Prediction("a.png", (("cat", 0.75), ("dog, small", 0.25))),
    Prediction('odd "name",\n.png', (("dog, small", 1 / 3), ("cat", 1e-7))),
    Prediction(b"bytes\xff.png".decode("utf-8", "surrogateescape"), (("cat", 1.0), ("dog, small", 0.0))),
]


def test_json_holds_everything() -> None:
    rows = json.loads(as_json(FOUND))
    assert [row["file"] for row in rows] == [prediction.file for prediction in FOUND]
    assert (rows[1]["class"], rows[1]["probability"]) == ("dog, small", 1 / 3)
    assert rows[1]["top"] == [
        {"class": "dog, small", "probability": 1 / 3},
        {"class": "cat", "probability": 1e-7},
    ]
    assert json.loads(as_json([])) == []


def test_csv_holds_everything() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(FOUND, 2))))
    assert rows[0] == ["file", "class", "probability", "class_2", "probability_2"]
    assert rows[1] == ["a.png", "cat", "0.75", "dog, small", "0.25"]
    assert rows[2][0] == FOUND[1].file
    assert float(rows[2][2]) == 1 / 3
    assert rows[3][0] == "bytes?.png"
    assert as_csv([], 1) == "file,class,probability"


def test_names_of_classes_steer_no_terminal() -> None:
    row = Prediction("a.png", (("dog\x1b]0;pwned\x07", 1.0),))
    assert as_csv([row], 1).splitlines()[1] == "a.png,dog?]0;pwned?,1.0"


def test_the_table_is_aligned_and_short() -> None:
    long = Prediction(
        "/folder" * 20 + "/cat.png", (("a class with a very long name indeed", 0.5), ("\x1b[31mred", 0.25))
    )
    lines = as_table([FOUND[0], long]).splitlines()
    assert lines[0].split() == ["file", "class", "probability"]
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["a.png", "cat", "0.7500"]
    assert lines[3].startswith("…")
    assert "/cat.png  a class with a very long name…  " in lines[3]
    assert max(map(len, lines)) <= 60 + 30 + 15
    assert "?[31mred" in lines[4]
    assert "\x1b" not in as_table([long])
