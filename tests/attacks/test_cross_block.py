"""A shared block mix is undone from the correlations between blocks; where there is nothing to find, it says so."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.cross_block import MAX_PIXELS, CrossBlock, attack
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream, Perturbation

SIZE, COUNT = 16, 1500
PRIVATE, PUBLIC = COUNT, COUNT  # images of the fixtures
KEY = KeyStream(bytes(range(32)))
Pixels = NDArray[np.uint8]


def mix(k: int, scope: str = "dataset", method: str = "block_mix") -> Perturbation:
    return PERTURBATIONS[method](SIZE, k, scope, 25.0, KEY)


def psnr(images: NDArray, originals: Pixels) -> float:
    return float(10 * np.log10(255**2 / ((images - originals.astype(float)) ** 2).mean()))


def relative_error(matrices: NDArray, k: int) -> float:
    """Median over blocks of the distance to the true matrix, with the norm of that as unit."""
    truth = mix(k).dataset_key
    return float(np.median(np.linalg.norm(matrices - truth, axis=(1, 2)) / np.linalg.norm(truth, axis=(1, 2))))


@pytest.mark.parametrize(("k", "most", "least_psnr"), [(1, 0.05, 35), (2, 0.15, 35), (4, 0.8, 25)])
def test_finds_the_matrices_and_the_images(
    private: Pixels, public: Pixels, k: int, most: float, least_psnr: float
) -> None:
    stolen, targets = mix(k).apply(private[100:]), mix(k).apply(private[:100])
    found = CrossBlock().run(AdversaryView("block_mix", k, "dataset", 0.0, stolen, targets, public))
    assert found.key is not None and found.images is not None and found.confidence is not None
    assert found.key.shape == mix(k).dataset_key.shape and found.key.dtype == np.float64
    assert relative_error(found.key, k) < most
    assert psnr(found.images, private[:100]) > least_psnr
    assert found.confidence > 0.4


def test_the_same_statistics_give_exactly_the_matrices(private: Pixels) -> None:
    # With the very images as public ones there is no sampling error, only the rounding to float16.
    found = attack(mix(2).apply(private), 2, private)
    assert relative_error(found.matrices, 2) < 0.01
    assert found.confidence > 0.95


def test_works_on_grey_images(private: Pixels, public: Pixels) -> None:
    stolen = mix(2).apply(private[..., 1:2])
    found = attack(stolen, 2, public[..., 1:2])
    assert relative_error(found.matrices, 2) < 0.25
    assert found.confidence > 0.8


def test_works_on_images_that_are_not_square(private: Pixels, public: Pixels) -> None:
    # The upper half of the image holds the first half of the blocks.
    found = attack(mix(2).apply(private)[:, :8], 2, public[:, :8])
    truth = mix(2).dataset_key[:32]
    assert np.median(np.abs(found.matrices - truth)) < 0.05
    assert found.confidence > 0.8


def test_is_deterministic_and_leaves_its_input_alone(private: Pixels, public: Pixels) -> None:
    stolen, shown = mix(2).apply(private[:100]), public[:100].copy()
    before = stolen.copy()
    first, second = (attack(stolen, 2, shown) for _ in range(2))
    np.testing.assert_array_equal(first.matrices, second.matrices)
    assert first.confidence == second.confidence
    np.testing.assert_array_equal(stolen, before)
    np.testing.assert_array_equal(shown, public[:100])


def test_chunks_of_images_change_little(private: Pixels, public: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    stolen = mix(2).apply(private[:500])
    whole = attack(stolen, 2, public[:500])
    monkeypatch.setattr("privpipe.attacks.cross_block.CHUNK_VALUES", 100 * SIZE * SIZE * 3)
    np.testing.assert_allclose(attack(stolen, 2, public[:500]).matrices, whole.matrices, atol=0.01)


def test_finds_the_identity_in_images_that_are_not_mixed(private: Pixels, public: Pixels) -> None:
    found = attack(private, 2, public)
    assert np.median(np.abs(found.matrices - np.eye(4))) < 0.05
    assert found.confidence > 0.8


@pytest.mark.parametrize("k", [2, 4])
def test_matrices_of_each_image_give_no_confidence(private: Pixels, public: Pixels, k: int) -> None:
    assert attack(mix(k, "image").apply(private), k, public).confidence < 0.05


def test_noise_gives_no_confidence(public: Pixels) -> None:
    noise = np.random.default_rng(3).normal(0.5, 0.3, (500, SIZE, SIZE, 3)).astype(np.float16)
    assert attack(noise, 2, public[:500]).confidence < 0.05


@pytest.mark.parametrize("level", [0, 1, 77, 200, 255])
def test_images_of_one_colour_give_no_confidence(public: Pixels, level: int) -> None:
    """Not even what rounding leaves of them, which is the same in both halves."""
    assert attack(np.full((8, SIZE, SIZE, 3), level, np.uint8), 2, public).confidence == 0


def test_a_part_of_one_colour_takes_nothing_from_the_rest(private: Pixels, public: Pixels) -> None:
    still = private.copy()
    still[:, :8] = 200
    half = public.copy()
    half[:, :8] = 200
    recovered = attack(mix(2).apply(still), 2, half)
    assert np.isfinite(recovered.matrices).all()
    assert recovered.confidence > 0.9


def test_a_single_block_gives_no_confidence_in_grey(private: Pixels, public: Pixels) -> None:
    stolen = mix(2).apply(private[:200, :, :, :1])[:, :2, :2]
    assert attack(stolen, 2, public[:200, :2, :2, :1]).confidence < 0.05


@pytest.mark.parametrize(("true", "guess"), [(4, 2), (8, 4)])
def test_a_block_size_that_is_too_small_gives_low_confidence(
    private: Pixels, public: Pixels, true: int, guess: int
) -> None:
    assert attack(mix(true).apply(private), guess, public).confidence < 0.4


def test_a_multiple_of_the_block_size_is_no_wrong_guess(private: Pixels, public: Pixels) -> None:
    stolen = mix(2).apply(private)
    found = CrossBlock().run(AdversaryView("block_mix", 4, "dataset", 0.0, stolen, stolen[:100], public))
    assert found.images is not None and psnr(found.images, private[:100]) > 22
    assert found.confidence is not None and found.confidence > 0.4


def test_applies_to_shared_mixing_alone() -> None:
    assert [
        (name, scope)
        for name in PERTURBATIONS
        for scope in ("dataset", "image")
        if CrossBlock().applies(PERTURBATIONS[name](SIZE, 1, scope))
    ] == [("block_mix", "dataset")]


def test_without_public_images_it_says_so(private: Pixels) -> None:
    stolen = mix(2).apply(private[:4])
    with pytest.raises(PrivpipeError, match=r"^cross_block needs public images; got none\. Run it at level L1\.$"):
        CrossBlock().run(AdversaryView("block_mix", 2, "dataset", 0.0, stolen, stolen))


@pytest.mark.parametrize("k", [0, 5, 32])
def test_refuses_a_block_size_that_does_not_fit(private: Pixels, k: int) -> None:
    with pytest.raises(PrivpipeError, match=rf"divide the image size 16x16; got {k}\. Use one of \[1, 2, 4, 8, 16\]"):
        attack(private[:4], k, private[4:8])


@pytest.mark.parametrize(
    "stolen", [np.zeros((8, 8, 8, 3), np.float32), np.zeros((8, 8, 8), np.float16), np.zeros((3, 8, 8, 3), np.float16)]
)
def test_refuses_what_is_no_set_of_images(stolen: NDArray, public: Pixels) -> None:
    with pytest.raises(PrivpipeError, match=r"stolen images must be float16 or uint8 \(N, H, W, C\) with N at least 4"):
        attack(stolen, 2, public)


@pytest.mark.parametrize("shown", [np.zeros((3, 16, 16, 3), np.uint8), np.zeros((8, 16, 16, 1), np.uint8)])
def test_refuses_public_images_of_another_shape_or_too_few(private: Pixels, shown: Pixels) -> None:
    with pytest.raises(PrivpipeError, match=r"M at least 4 and the shape of the stolen ones, \(16, 16, 3\); got uint8"):
        attack(private[:4], 2, shown)


def test_refuses_images_whose_covariances_would_fill_the_memory() -> None:
    images = np.zeros((4, 128, 64, 1), np.uint8)
    with pytest.raises(PrivpipeError, match=rf"{MAX_PIXELS:,} pixels each.*got 128x64\. Cut them"):
        attack(images, 2, images)
