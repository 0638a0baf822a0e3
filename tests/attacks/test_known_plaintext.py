"""Known pairs give the key of every keyed method away; pairs that share no key do not."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.known_plaintext import KnownPlaintext, Solved, solve
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream, Perturbation

SIZE, SIGMA = 16, 25.0
KEY = KeyStream(bytes(range(32)))
ORIGINALS = draw(60, SIZE, rng=np.random.default_rng(1)).images
TARGETS = draw(20, SIZE, rng=np.random.default_rng(2)).images
PUBLIC = draw(500, SIZE, rng=np.random.default_rng(3)).images
SIZES = {"block_scramble": 4, "block_mix": 2, "random_filter": 3, "gaussian_noise": 1, "correlated_noise": 3}
every_method = pytest.mark.parametrize("name", SIZES)


def perturbation(name: str, k: int, scope: str = "dataset") -> Perturbation:
    return PERTURBATIONS[name](SIZE, k, scope, SIGMA, KEY)


def known(name: str, k: int, count: int, scope: str = "dataset") -> Pairs:
    return Pairs(ORIGINALS[:count], perturbation(name, k, scope).apply(ORIGINALS[:count]))


def found(name: str, count: int, scope: str = "dataset") -> Solved:
    return solve(known(name, SIZES[name], count, scope), perturbation(name, SIZES[name]))


def truth(name: str) -> NDArray:
    key = perturbation(name, SIZES[name]).dataset_key
    assert key is not None
    return key


def view(name: str, count: int, public: NDArray | None = PUBLIC) -> AdversaryView:
    targets = perturbation(name, SIZES[name]).apply(TARGETS)
    return AdversaryView(name, SIZES[name], "dataset", SIGMA, targets, targets, public, known(name, SIZES[name], count))


def psnr(images: NDArray | None, originals: NDArray) -> float:
    assert images is not None
    return float(10 * np.log10(255**2 / max(1e-9, ((images - originals.astype(float)) ** 2).mean())))


def test_every_keyed_method_has_a_solver() -> None:
    keyed = [name for name, kind in PERTURBATIONS.items() if kind.keyed and kind.pairs_attack == "known_plaintext"]
    assert all(PERTURBATIONS[name](SIZE, 1).key_equations() for name in keyed)
    applies = [
        (name, scope)
        for name in PERTURBATIONS
        for scope in ("dataset", "image")
        if KnownPlaintext().applies(PERTURBATIONS[name](SIZE, 1, scope))
    ]
    assert sorted(applies) == sorted((name, "dataset") for name in keyed)


@every_method
def test_the_key_has_the_form_of_the_method(name: str) -> None:
    key = found(name, 2).key
    assert (key.shape, key.dtype) == (truth(name).shape, truth(name).dtype)


@pytest.mark.parametrize(("count", "least"), [(1, 0.9), (2, 0.998)])
def test_one_pair_gives_most_of_a_scramble_and_two_nearly_all(count: int, least: float) -> None:
    attempt = found("block_scramble", count)
    right = float((attempt.key == truth("block_scramble")).mean())
    assert right >= least
    assert attempt.confidence == pytest.approx(right, abs=0.05)


@pytest.mark.parametrize("k", [1, 2, 8, 16])
def test_scrambles_of_all_sizes(k: int) -> None:
    pairs = known("block_scramble", k, 3)
    np.testing.assert_array_equal(
        solve(pairs, perturbation("block_scramble", k)).key, perturbation("block_scramble", k).dataset_key
    )


def test_equal_pixels_keep_a_permutation_and_lower_the_confidence() -> None:
    flat = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    attempt = solve(Pairs(flat, flat), perturbation("block_scramble", 4))
    np.testing.assert_array_equal(np.sort(attempt.key, axis=1), np.broadcast_to(np.arange(16), (16, 16)))
    assert attempt.confidence == 0


@pytest.mark.parametrize(("count", "most"), [(10, 0.05), (60, 0.01)])
def test_many_pairs_give_a_mix(count: int, most: float) -> None:
    attempt = found("block_mix", count)
    assert np.linalg.norm(attempt.key - truth("block_mix")) < most * np.linalg.norm(truth("block_mix"))
    assert attempt.confidence > 0.7


def test_a_mix_of_too_few_pairs_is_the_ridge_solution() -> None:
    pairs = known("block_mix", 4, 2)
    attempt = solve(pairs, perturbation("block_mix", 4))
    x = pairs.originals[:, :4, :4].reshape(2, 16, 3).transpose(1, 0, 2).reshape(16, 6) / 255
    y = pairs.perturbed[:, :4, :4].reshape(2, 16, 3).transpose(1, 0, 2).reshape(16, 6).astype(float)
    units = np.spacing(np.abs(pairs.perturbed)).astype(float)
    noise = 16 * (units**2).mean() / 12  # rounding, over the variance 1/16 of a weight
    expected = y @ np.linalg.solve(x.T @ x + noise * np.eye(6), x.T)  # the dual form: 6 equations, 16 unknowns
    np.testing.assert_allclose(attempt.key[0], expected, atol=1e-6)
    assert attempt.confidence < 0.4


@pytest.mark.parametrize("k", [1, 3, 7, 15])
@pytest.mark.parametrize("count", [1, 3])
def test_a_filter_is_least_squares_on_patches(k: int, count: int) -> None:
    pairs = known("random_filter", k, count)
    attempt = solve(pairs, perturbation("random_filter", k))
    for original, perturbed in zip(pairs.originals, pairs.perturbed, strict=True):
        again = cv2.filter2D(original / 255, cv2.CV_64F, attempt.key)
        np.testing.assert_allclose(again, perturbed.astype(float), rtol=2**-9, atol=2**-8)
    if k <= 3:
        np.testing.assert_allclose(attempt.key, perturbation("random_filter", k).dataset_key, atol=0.01)
    if count > 1:
        assert attempt.confidence > 0.5


@pytest.mark.parametrize("name", ["gaussian_noise", "correlated_noise"])
@pytest.mark.parametrize("count", [1, 3])
def test_noise_is_the_difference(name: str, count: int) -> None:
    attempt = found(name, count)
    np.testing.assert_allclose(attempt.key, truth(name), atol=255 * 2**-11)
    assert attempt.confidence > 0.7


@every_method
def test_targets_come_back(name: str) -> None:
    attempt = KnownPlaintext().run(view(name, 30))
    assert attempt.images is not None and attempt.images.dtype == np.float32
    assert psnr(attempt.images, TARGETS) > 35
    assert attempt.confidence is not None and attempt.confidence > 0.5


@every_method
def test_public_images_are_no_condition(name: str) -> None:
    assert psnr(KnownPlaintext().run(view(name, 30, None)).images, TARGETS) > 30


def test_a_key_known_in_part_is_no_worse_than_the_mean_image() -> None:
    # Six equations for sixteen unknowns: what they leave open is treated as noise, not believed.
    targets = perturbation("block_mix", 4).apply(TARGETS)
    attempt = KnownPlaintext().run(
        AdversaryView("block_mix", 4, "dataset", 0.0, targets, targets, PUBLIC, known("block_mix", 4, 2))
    )
    mean = np.broadcast_to(PUBLIC.mean(axis=0), TARGETS.shape)
    assert psnr(attempt.images, TARGETS) > psnr(mean, TARGETS) + 3


@every_method
@pytest.mark.parametrize("count", [3, 30])
def test_keys_of_each_image_give_no_confidence(name: str, count: int) -> None:
    assert found(name, count, "image").confidence < 0.05


# A blur is a filter, a permutation within blocks is a mix, and both noises have the same strength: no wrong hypotheses.
OTHERS = [
    (name, other)
    for name in SIZES
    for other in ("gaussian_blur", "gaussian_noise", "block_scramble")
    if other != name
    and (name, other)
    not in [("random_filter", "gaussian_blur"), ("block_mix", "block_scramble"), ("correlated_noise", "gaussian_noise")]
]


@pytest.mark.parametrize(("name", "other"), OTHERS)
def test_pairs_of_another_method_give_little_confidence(name: str, other: str) -> None:
    pairs = known(other, 3 if other == "gaussian_blur" else 2, 10)
    assert solve(pairs, perturbation(name, SIZES[name])).confidence < 0.25


@pytest.mark.parametrize(
    ("name", "true", "guess"),
    [
        ("block_scramble", 4, 2),
        ("block_scramble", 8, 4),
        ("block_mix", 4, 2),
        ("block_mix", 8, 4),
        ("random_filter", 5, 3),
    ],
)
@pytest.mark.parametrize("count", [3, 30])
def test_another_k_gives_no_confidence(name: str, true: int, guess: int, count: int) -> None:
    assert solve(known(name, true, count), perturbation(name, guess)).confidence < 0.15


def test_one_grey_pair_has_nothing_to_compare_with() -> None:
    pair = Pairs(ORIGINALS[:1, ..., :1], perturbation("block_mix", 2).apply(ORIGINALS[:1, ..., :1]))
    assert solve(pair, perturbation("block_mix", 2)).confidence == 0


@every_method
def test_is_deterministic_and_leaves_its_input_alone(name: str) -> None:
    pairs = known(name, SIZES[name], 3)
    before = pairs.perturbed.copy()
    first, second = (solve(pairs, perturbation(name, SIZES[name])) for _ in range(2))
    np.testing.assert_array_equal(first.key, second.key)
    np.testing.assert_array_equal(pairs.perturbed, before)


def test_without_pairs_it_says_so() -> None:
    targets = perturbation("block_mix", 2).apply(TARGETS)
    with pytest.raises(PrivpipeError, match=r"^known_plaintext needs known pairs; got none\. Run it at level L2\.$"):
        KnownPlaintext().run(AdversaryView("block_mix", 2, "dataset", 0.0, targets, targets, PUBLIC))


@pytest.mark.parametrize("name", ["none", "gaussian_blur", "pixelate"])
def test_refuses_a_method_without_key(name: str) -> None:
    with pytest.raises(PrivpipeError, match=rf"^{name} has no key to find in pairs\. Name a method with a key\.$"):
        solve(Pairs(ORIGINALS, ORIGINALS), perturbation(name, 3))


@pytest.mark.parametrize(
    ("originals", "perturbed"),
    [(ORIGINALS[:2], ORIGINALS[:3]), (ORIGINALS[:0], ORIGINALS[:0]), (ORIGINALS.astype(np.float32), ORIGINALS)],
)
def test_refuses_what_are_no_pairs(originals: NDArray, perturbed: NDArray) -> None:
    with pytest.raises(PrivpipeError, match=r"^pairs must be originals, uint8 \(m, H, W, C\) with m at least 1, and"):
        solve(Pairs(originals, perturbed), perturbation("block_scramble", 4))


@pytest.mark.parametrize(("name", "k"), [("block_scramble", 3), ("block_mix", 5), ("random_filter", 4)])
def test_refuses_a_k_that_does_not_fit(name: str, k: int) -> None:
    with pytest.raises(PrivpipeError, match=rf"k of {name} one of \[1, .*\] for 16 pixels; got k = {k} and 16x16\.$"):
        solve(Pairs(ORIGINALS, ORIGINALS), perturbation(name, k))
