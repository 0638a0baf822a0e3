"""A method whose uploads are features and no images: through files, training, queries, attacks and scores."""

from pathlib import Path

import numpy as np
import pytest

import privpipe
from privpipe.attacks.base import UNFIT
from privpipe.attacks.registry import attacks
from privpipe.attacks.suite import load_view, suite
from privpipe.cli.prediction import load_classifier
from privpipe.data.images import RawImages
from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.networks.registry import network_for
from privpipe.nn.bundle import load_bundle, save_bundle
from privpipe.nn.engine import Recipe
from privpipe.nn.evaluate_job import evaluate_file
from privpipe.nn.train_job import train_file
from privpipe.owner.key import new_key
from privpipe.owner.perturbing import perturb_file
from privpipe.params import Perturb
from privpipe.perturb.neuracrypt import Neuracrypt
from privpipe.report.display import displayable
from privpipe.scores.flags import flags
from privpipe.scores.scoring import judge
from privpipe.store import LEAKED, PERTURBED, PUBLIC, RAW, open_store

SIZE, K, WIDTH = 16, 4, 24
COUNTS = {"train": 60, "val": 10, "test": 20}
KEY = new_key(7)
PERTURB = Perturb(method="neuracrypt", k=K, scope="dataset", sigma=0.0, width=WIDTH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw images, public ones, known pairs, and the uploads."""
    folder = tmp_path_factory.mktemp("features")
    source = draw(130, SIZE, rng=np.random.default_rng(0))
    ends = np.cumsum([*COUNTS.values()])
    rows = {name: np.arange(end - n, end) for (name, n), end in zip(COUNTS.items(), ends, strict=True)}
    images = RawImages(source.images, source.labels, source.class_names)
    write_images(folder / "images.h5", images, images, rows)
    write_images(folder / "public.h5", images, images, {"train": np.arange(90, 130)}, PUBLIC)
    write_images(folder / "leaked.h5", images, images, {"train": np.arange(5)}, LEAKED)
    metrics = perturb_file(folder / "images.h5", folder / "perturbed.h5", PERTURB, KEY, progress=False)
    assert metrics["rms_change"] is None and metrics["bytes"] == 90 * 2 * 16 * WIDTH
    return folder


def test_the_file_says_of_what_images_it_is_made(folder: Path) -> None:
    with open_store(folder / "perturbed.h5", PERTURBED) as uploads, open_store(folder / "images.h5", RAW) as raw:
        header = uploads.header
        assert header.shape == (4, 4, WIDTH) and header.original_shape == header.image_shape == (SIZE, SIZE, 3)
        assert header.stored_k == 1 and header.settings == {"width": WIDTH, "depth": 4}
        assert raw.header.image_shape is None and raw.header.original_shape == (SIZE, SIZE, 3)
        method = Neuracrypt(SIZE, K, "dataset", 0.0, KEY.stream, width=WIDTH)
        np.testing.assert_array_equal(uploads.images("val"), method.apply(raw.images("val")))


@pytest.mark.parametrize("arch", ["vit", "baseline", "adaptation"])
def test_networks_take_features_and_models_take_images_as_queries(folder: Path, tmp_path: Path, arch: str) -> None:
    method = Neuracrypt(SIZE, K, "dataset", 0.0, width=WIDTH)
    assert network_for(arch, "paper")().experiment_problems(method, "none") == []
    recipe = Recipe(epochs=1, batch_size=20, lr=1e-3, reg=1e-3, seed=0)
    bundle = train_file(folder / "perturbed.h5", arch, recipe, "cpu", 1, progress=False).bundle
    sizes = bundle.architecture
    assert (sizes.image_size, sizes.channels, bundle.image_shape) == (4, WIDTH, (SIZE, SIZE, 3)) and sizes.k <= 1
    save_bundle(tmp_path / "model.safetensors", bundle)
    assert load_bundle(tmp_path / "model.safetensors").image_shape == (SIZE, SIZE, 3)
    evaluation = evaluate_file(folder / "perturbed.h5", tmp_path / "model.safetensors", "cpu", 1, None)
    assert 0 <= evaluation.metrics["test_accuracy"] <= 1
    classifier = load_classifier(tmp_path / "model.safetensors", lambda: KEY)
    assert classifier.method.image_size == SIZE and classifier.method.settings["width"] == WIDTH


def test_a_network_that_does_not_fit_the_features_says_so_before_any_work() -> None:
    problems = network_for("baseline", "paper")().experiment_problems(Neuracrypt(32, 16), "none")
    (problem,) = problems
    assert problem.startswith("baseline halves the image 2 times, so its side must be a multiple of 4; got 2. Change ")


def test_attacks_that_take_images_say_so_once_and_nothing_fails(folder: Path) -> None:
    files = [folder / f"{name}.h5" for name in ("perturbed", "public", "leaked")]
    view = load_view(*files, targets=20, stolen=None)
    assert (view.image_size, view.channels, view.image_shape) == (SIZE, 3, (SIZE, SIZE, 3))
    records = suite(view, attacks(1, 0, 1, "cpu"))
    refused = {record.attack: record.problem for record in records if record.problem and UNFIT in record.problem}
    assert set(refused) == {"as_is", "restoration_network"} and len(refused) == 2
    assert refused["as_is"] == "uploads of neuracrypt are features and no images; as_is takes images"
    owner = Neuracrypt(SIZE, K, "dataset", 0.0, KEY.stream, width=WIDTH)
    with open_store(folder / "images.h5", RAW) as raw:
        originals, labels = raw.images("test"), raw.labels("test")
    judged = judge(view, records, originals, labels, owner, lambda images: np.zeros(len(images), int))
    assert judged.metrics["mean_image_ssim"] is not None and judged.metrics["perturbed_ssim"] is None
    assert judged.metrics["l0_reidentified_top1"] is not None and "second_release_problem" in judged.metrics
    assert not any("as_is" in flag for flag in flags(judged.rows, judged.metrics, judged.problems, {}))
    shown = displayable(view.targets[0], (0.0, 1.0))
    assert shown.shape == (4, 4, 3) and shown.dtype == np.uint8


def test_one_call_needs_images_to_know_their_shape(folder: Path) -> None:
    images = draw(120, SIZE, rng=np.random.default_rng(1)).images
    uploads = privpipe.perturb(images, "neuracrypt", k=K, key=bytes(32))
    assert uploads.shape == (120, 4, 4, 64)
    assert privpipe.perturb(images[0], "neuracrypt", k=K, key=bytes(32)).shape == (4, 4, 64)
    with pytest.raises(PrivpipeError, match=r"^neuracrypt gives features, whose shape does not say that of the images"):
        privpipe.attack(uploads, "neuracrypt", k=K)
    runs = privpipe.attack(uploads, "neuracrypt", k=K, pairs=(images[:5], uploads[:5]))
    assert {run.attack for run in runs if run.problem} >= {"as_is"}
    with pytest.raises(PrivpipeError, match=r"^public must be uint8 \(M, 16, 16, 3\); got uint8 \(2, 8, 8, 3\)"):
        privpipe.attack(uploads, "neuracrypt", k=K, pairs=(images[:5], uploads[:5]), public=images[:2, ::2, ::2])
