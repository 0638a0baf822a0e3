"""One file makes a method: it is perturbed, attacked, linked, scored, drawn, captioned, and a parameter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ruamel.yaml import YAML

from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.linkage import method_similarity
from privpipe.attacks.registry import attacks
from privpipe.attacks.restoration import Prior, restore
from privpipe.attacks.suite import suite
from privpipe.data.synthetic import draw
from privpipe.params import Params, check_params
from privpipe.perturb import METHODS, KeyStream, Perturbation
from privpipe.report.advice import verdict
from privpipe.report.figures import method_figure, paper_examples
from privpipe.scores.guarantee import guarantee
from privpipe.scores.scoring import judge
from privpipe.store import PERTURBED, Header

NAME, SIZE, K = "block_permutation", 16, 4
KEY = KeyStream(bytes(range(32)))
DRAWN = draw(90, SIZE, rng=np.random.default_rng(0))
IMAGES, LABELS = DRAWN.images, np.asarray(DRAWN.labels)
COMMON = Path(__file__).parents[2] / "params.yaml"


def method(scope: str = "dataset", k: int = K) -> Perturbation:
    return METHODS[NAME](SIZE, k, scope, 0.0, KEY)


def moved(image: NDArray[np.uint8], permutation: NDArray[np.int32], k: int) -> NDArray[np.uint8]:
    """Block b comes from block permutation[b], one at a time."""
    out, side = np.empty_like(image), len(image) // k
    for b, source in enumerate(permutation.tolist()):
        (top, left), (y, x) = divmod(b, side), divmod(source, side)
        out[top * k : top * k + k, left * k : left * k + k] = image[y * k : y * k + k, x * k : x * k + k]
    return out


def test_one_permutation_moves_the_blocks_of_all_images() -> None:
    key = method().dataset_key
    assert key is not None and sorted(key.tolist()) == list(range(16))
    expected = np.stack([moved(image, key, K) for image in IMAGES[:5]])
    np.testing.assert_array_equal(method().apply(IMAGES[:5]), expected)


def test_each_image_has_a_permutation_of_its_own_where_it_is_asked_for() -> None:
    perturbed = method("image").apply(np.stack([IMAGES[0], IMAGES[1]]))
    keys = [match(original, out) for original, out in zip(IMAGES[:2], perturbed, strict=True)]
    assert not np.array_equal(keys[0], keys[1])
    for original, out, key in zip(IMAGES[:2], perturbed, keys, strict=True):
        np.testing.assert_array_equal(out, moved(original, key, K))


def match(original: NDArray[np.uint8], out: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The permutation between two images, by looking for each block."""
    side = SIZE // K
    corners = [(y * K, x * K) for y in range(side) for x in range(side)]
    cut = [[image[y : y + K, x : x + K] for y, x in corners] for image in (original, out)]
    return np.array([next(i for i, block in enumerate(cut[0]) if np.array_equal(block, other)) for other in cut[1]])


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_the_key_restores_the_images(scope: str) -> None:
    keys = np.stack([match(a, b) for a, b in zip(IMAGES[:6], method(scope).apply(IMAGES[:6]), strict=True)])
    key = keys if scope == "image" else keys[0]
    found = restore(method(scope).apply(IMAGES[:6]), method(scope), key, Prior.generic(SIZE, 3))
    np.testing.assert_array_equal(found, IMAGES[:6])


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_the_likelihood_knows_whose_blocks_they_are(scope: str) -> None:
    similarity = method_similarity(method(scope).apply(IMAGES), IMAGES, method(scope))
    assert (similarity.argmax(axis=1) == np.arange(len(IMAGES))).all()


def test_the_general_attacks_apply_and_known_pairs_find_the_key() -> None:
    owner = method()
    stolen, targets = owner.apply(IMAGES[:40]), owner.apply(IMAGES[40:60])
    view = AdversaryView(NAME, K, "dataset", 0.0, stolen, targets, IMAGES[60:], Pairs(IMAGES[:10], stolen[:10]))
    records = suite(view, attacks(1, 0, 1, "cpu"))
    assert {record.attack for record in records} == {"as_is", "jigsaw", "known_plaintext", "restoration_network"}
    scored = judge(view, records, IMAGES[40:60], LABELS[40:60], owner, lambda images: np.zeros(len(images), int))
    assert scored.metrics["l2_key_recovery"] == 1 and scored.metrics["l2_blocks_recovered"] == 1
    assert scored.metrics["l2_ssim"] == pytest.approx(1) and scored.metrics["l3_ssim"] == pytest.approx(1)
    assert scored.metrics["l0_reidentified_top1"] == 1
    assert scored.metrics["chance_key_recovery"] == 1 / 16
    assert all("found the key with a confidence" in problem[3] for problem in scored.problems)


def params(**perturb: Any) -> Params:
    values = YAML(typ="safe").load(COMMON)
    return check_params(values | {"perturb": values["perturb"] | perturb})


def test_parameters_and_the_grid_of_the_survey_know_it() -> None:
    assert params(method=NAME, k=8, scope="image").perturb.method == NAME
    with pytest.raises(
        Exception, match=r"perturb\.k must divide data\.image_size=32 for perturb\.method=block_permutat"
    ):
        params(method=NAME, k=5)


def test_it_is_drawn_captioned_and_judged() -> None:
    figure = method_figure(NAME, SIZE, K, "dataset", 0.0)
    assert "the block that each place receives" in figure.axes[0].get_title()
    assert sorted(int(text.get_text()) for text in figure.axes[0].texts) == list(range(16))
    assert [title.split("\n")[0] for title, _ in paper_examples(IMAGES[0], NAME, K, "image", 0.0)] == ["k = 2", "k = 8"]
    header = Header(PERTURBED, NAME, K, "dataset", ("a", "b"), (0.0, 255.0), (SIZE, SIZE, 3), "uint8")
    assert verdict(header)[0] is None
    whole = Header(PERTURBED, NAME, SIZE, "dataset", ("a", "b"), (0.0, 255.0), (SIZE, SIZE, 3), "uint8")
    assert verdict(whole) == (True, "The image is a single block, which stays where it is.")
    assert guarantee(NAME, SIZE, 3, K, "image", 0.0).epsilon_pixel is None
