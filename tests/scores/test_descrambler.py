"""The inferred descrambler against brute force, planted solutions and chance."""

import re
from dataclasses import replace
from itertools import permutations
from math import e, factorial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.networks.base import Architecture
from privpipe.nn.bundle import Bundle
from privpipe.nn.inference import Normalisation
from privpipe.nn.models import build
from privpipe.owner.key import Key, new_key
from privpipe.perturb.block_scramble import BlockScramble
from privpipe.scores.descrambler import METRICS, DescramblerScore, chance_right, nearest_permutations, score

KEY = new_key(0)


def bundle(size: int = 16, k: int = 4, arch: str = "descrambler", seed: int = 0) -> Bundle:
    """An untrained model."""
    architecture = Architecture(arch, size, 3, 2, k)
    model = build(architecture, torch.Generator().manual_seed(seed))
    normalise = Normalisation(torch.zeros(3), torch.ones(3))
    return Bundle(model, normalise, architecture, ("a", "b"), "block_scramble", k, "dataset", "uint8", (0.0, 255.0))


def planted(sources: NDArray[np.integer], noise: float = 0.0, seed: int = 0) -> NDArray[np.float32]:
    """Matrices (blocks, n, n) that take output pixel i of block b from input pixel `sources[b, i]`, under noise."""
    blocks, n = sources.shape
    weights = np.random.default_rng(seed).normal(0, noise, (blocks, n, n)) if noise else np.zeros((blocks, n, n))
    for block in range(blocks):
        for i in range(n):
            weights[block, i, sources[block, i]] += 1
    return weights.astype(np.float32)


def with_weights(model: Bundle, weights: NDArray[np.float32]) -> Bundle:
    with torch.no_grad():
        model.model.get_submodule("bfc").get_parameter("weight").copy_(torch.from_numpy(weights))
    return model


def true_descrambler(size: int, k: int, key: Key = KEY) -> NDArray[np.int64]:
    """Found by watching where the pixels of an image go: output pixel i of block b is scrambled pixel [b, i]."""
    places = np.arange(k * k, dtype=np.uint8).reshape(1, k, k, 1)
    image = np.tile(places, (1, size // k, size // k, 3))
    moved = BlockScramble(size, k, "dataset", stream=key.stream).apply(image)[0, :, :, 0]
    found = np.empty(((size // k) ** 2, k * k), np.int64)
    for block in range(len(found)):
        top, left = block // (size // k) * k, block % (size // k) * k
        for place, original in enumerate(moved[top : top + k, left : left + k].ravel()):
            found[block, original] = place
    return found


def test_nearest_permutations_by_brute_force() -> None:
    weights = np.random.default_rng(0).normal(size=(40, 4, 4))
    for matrix, found in zip(weights, nearest_permutations(weights), strict=True):
        distances = {p: ((matrix - np.eye(4)[list(p)]) ** 2).sum() for p in permutations(range(4))}
        assert tuple(found.tolist()) == min(distances, key=distances.__getitem__)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("n", [4, 16, 64])
def test_planted_permutations_are_found_under_noise(n: int, noise: float) -> None:
    rng = np.random.default_rng(1)
    sources = np.stack([rng.permutation(n) for _ in range(9)])
    found = nearest_permutations(planted(sources, noise))
    assert found.dtype == np.int64
    assert np.array_equal(found, sources)


def test_what_is_found_is_always_a_permutation() -> None:
    weights = np.concatenate(
        [np.zeros((1, 16, 16)), np.ones((1, 16, 16)), np.random.default_rng(0).random((9, 16, 16))]
    )
    assert all(sorted(found) == list(range(16)) for found in nearest_permutations(weights).tolist())


@pytest.mark.parametrize("n", range(1, 7))
def test_chance_by_counting_all_permutations(n: int) -> None:
    fixed = [sum(i == j for i, j in enumerate(p)) for p in permutations(range(n))]
    for right in range(n + 1):
        assert chance_right(n, right) == pytest.approx(fixed.count(right) / factorial(n), abs=1e-15)


@pytest.mark.parametrize("n", [1, 4, 16, 64, 256])
def test_chances_sum_to_1_with_one_pixel_right_on_average(n: int) -> None:
    chances = [chance_right(n, right) for right in range(n + 1)]
    assert sum(chances) == pytest.approx(1)
    assert sum(right * chance for right, chance in enumerate(chances)) == pytest.approx(1)
    assert all(chance >= 0 for chance in chances)


@pytest.mark.parametrize("n", [16, 64, 256])
def test_chance_of_a_large_block(n: int) -> None:
    assert chance_right(n, 0) == pytest.approx(1 / e, abs=1e-9)
    assert chance_right(n, n - 1) == 0
    assert chance_right(16, 16) == pytest.approx(1 / factorial(16))


@pytest.mark.parametrize(
    ("size", "k", "arch"),
    [*[(n, k, "descrambler") for n, k in ((8, 2), (16, 4), (16, 8))], (8, 4, "modern_descrambler")],
)
def test_the_true_inverse_is_exact(size: int, k: int, arch: str) -> None:
    result = score(with_weights(bundle(size, k, arch), planted(true_descrambler(size, k), 0.05)), KEY)
    n = k * k
    assert result.reason is None
    assert tuple(result.metrics) == METRICS
    assert result.metrics == {
        "blocks_exact": 1.0,
        "blocks_none": 0.0,
        "pixels_right": 1.0,
        "chance_blocks_exact": pytest.approx(1 / factorial(n)),
        "chance_blocks_none": pytest.approx(1 / e, abs=0.01),
        "chance_pixels_right": 1 / n,
    }
    assert result.right.tolist() == [n] * (size // k) ** 2


def test_parts_are_counted() -> None:
    """Of 16 blocks one is right but for two exchanged pixels, and one is turned by one place."""
    sources = true_descrambler(16, 4)
    sources[3, [0, 5]] = sources[3, [5, 0]]
    sources[7] = np.roll(sources[7], 1)
    result = score(with_weights(bundle(), planted(sources)), KEY)
    assert result.metrics["blocks_exact"] == 14 / 16
    assert result.metrics["blocks_none"] == 1 / 16
    assert result.metrics["pixels_right"] == (14 * 16 + 14) / 256
    assert (result.right[3], result.right[7]) == (14, 0)


def test_the_scramble_itself_is_not_its_inverse() -> None:
    forward = BlockScramble(16, 4, "dataset", stream=KEY.stream).permutations
    metrics = score(with_weights(bundle(), planted(forward)), KEY).metrics
    assert metrics["blocks_exact"] == 0
    assert metrics["pixels_right"] is not None and metrics["pixels_right"] < 0.2


def test_another_key_scores_like_chance() -> None:
    weights = planted(true_descrambler(32, 2, new_key(1)))
    metrics = score(with_weights(bundle(32, 2), weights), KEY).metrics
    assert metrics["pixels_right"] == pytest.approx(1 / 4, abs=4 * (1 / 4 / 256) ** 0.5)


@pytest.mark.parametrize("k", [2, 4])
def test_untrained_weights_score_like_chance(k: int) -> None:
    result = score(bundle(64, k, seed=5), KEY)
    blocks = (64 // k) ** 2
    for name in ("blocks_exact", "blocks_none", "pixels_right"):
        measured, chance = result.metrics[name], result.metrics[f"chance_{name}"]
        assert measured is not None and chance is not None
        # The number of fixed points has variance 1, so the fraction of right pixels has 1 / (n² · blocks).
        spread = 1 / (k * k) / blocks**0.5 if name == "pixels_right" else (chance * (1 - chance) / blocks) ** 0.5
        assert abs(measured - chance) <= 4 * spread + 1e-12


@pytest.mark.parametrize("k", [2, 4])
def test_the_histogram_counts_every_block_once(k: int) -> None:
    result = score(bundle(32, k), KEY)
    rows = result.histogram()
    blocks = (32 // k) ** 2
    assert [right for right, _, _ in rows] == list(range(k * k + 1))
    assert sum(count for _, count, _ in rows) == blocks
    assert sum(chance for _, _, chance in rows) == pytest.approx(blocks)
    assert rows[0][1] == (result.right == 0).sum()
    assert rows[0][2] == pytest.approx(blocks * chance_right(k * k, 0))


def test_histogram_of_planted_counts() -> None:
    result = DescramblerScore({}, np.array([4, 0, 1, 1, 4, 4]), 4)
    assert [count for _, count, _ in result.histogram()] == [1, 2, 0, 0, 3]
    assert [chance for _, _, chance in result.histogram()] == pytest.approx([6 * c / 24 for c in (9, 8, 6, 0, 1)])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (bundle(arch="baseline"), "model.arch is baseline: it has no descrambler layer"),
        (bundle(arch="three_layer"), "model.arch is three_layer: it has no descrambler layer"),
        (bundle(arch="modern_three_layer"), "model.arch is modern_three_layer: it has no descrambler layer"),
        (replace(bundle(), scope="image"), "perturb.scope is image: .* no one true descrambler"),
        (replace(bundle(), method="block_mix"), "perturb.method is block_mix: it permutes no pixels"),
    ],
)
def test_nothing_to_measure_gives_the_same_keys_without_values(model: Bundle, reason: str) -> None:
    result = score(model, KEY)
    assert result.metrics == dict.fromkeys(METRICS)
    assert result.histogram() == []
    assert result.reason is not None
    assert re.match(reason, result.reason)


def test_weights_of_another_block_size() -> None:
    with pytest.raises(PrivpipeError, match=r"has shape \(16, 16, 16\); the key's permutations \(64, 4\)"):
        score(replace(bundle(), k=2), KEY)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(value: float) -> None:
    model = bundle()
    with torch.no_grad():
        model.model[0].weight[2, 3, 4] = value
    with pytest.raises(PrivpipeError, match="the model's descrambler has NaN or infinite weights"):
        score(model, KEY)
