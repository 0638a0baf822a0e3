"""A shared block scramble is undone from correlations alone; where there is nothing to find, the attack says so."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.correlations import MAX_PIXELS, Recovered, Shared, attack
from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.base import to_blocks
from privpipe.perturb.block_scramble import BlockScramble

SIZE, COUNT = 32, 1200
PRIVATE, PUBLIC = COUNT, COUNT  # images of the fixtures
KEY = KeyStream(bytes(range(32)))
Pixels = NDArray[np.uint8]


def scramble(k: int, scope: str = "dataset", size: int = SIZE) -> BlockScramble:
    return BlockScramble(size, k, scope, stream=KEY)


def right(found: Recovered, k: int) -> float:
    return float((found.permutations == scramble(k).permutations).mean())


@pytest.mark.parametrize(("k", "least"), [(2, 0.99), (4, 0.99), (8, 0.9)])
def test_recovers_the_permutations_with_public_images(private: Pixels, public: Pixels, k: int, least: float) -> None:
    found = attack(scramble(k).apply(private), k, public)
    assert found.permutations.dtype == np.int32
    assert right(found, k) >= least
    assert found.confidence > 0.6


@pytest.mark.parametrize("k", [2, 4])
def test_recovers_the_permutations_without_public_images(private: Pixels, k: int) -> None:
    found = attack(scramble(k).apply(private), k)
    assert right(found, k) >= 0.95
    assert found.confidence > 0.5


def again(images: Pixels, k: int, permutations: NDArray[np.int32]) -> Pixels:
    """`images` scrambled with permutations, block by block: (N, blocks, k*k, C)."""
    return np.take_along_axis(to_blocks(images, k), permutations[None, :, :, None], axis=2)


def test_works_on_grey_images(private: Pixels, public: Pixels) -> None:
    found = attack(scramble(4).apply(private[..., 1:2]), 4, public[..., 1:2])
    assert right(found, 4) >= 0.99


def test_works_on_images_that_are_not_square(private: Pixels, public: Pixels) -> None:
    # The upper half of the image holds the first half of the blocks.
    stolen = scramble(4).apply(private)[:, :16]
    found = attack(stolen, 4, public[:, :16])
    assert (found.permutations == scramble(4).permutations[:32]).mean() >= 0.99
    assert (again(private[:, :16], 4, found.permutations) == to_blocks(stolen, 4)).mean() >= 0.99


def test_calls_that_share_sums_find_the_same(private: Pixels, public: Pixels) -> None:
    stolen, shared = scramble(4).apply(private), Shared(4)
    for count, known in ((COUNT, None), (COUNT, public), (300, public), (801, public), (801, None)):
        found, alone = attack(stolen[:count], 4, known, shared), attack(stolen[:count], 4, known)
        np.testing.assert_array_equal(found.permutations, alone.permutations)
        assert found.confidence == pytest.approx(alone.confidence, rel=1e-4)


def test_is_deterministic_and_leaves_its_input_alone(private: Pixels, public: Pixels) -> None:
    stolen = private[:100, :16, :16].copy()
    before = stolen.copy()
    first, second = (attack(stolen, 4, public[:100, :16, :16]) for _ in range(2))
    np.testing.assert_array_equal(first.permutations, second.permutations)
    assert first.confidence == second.confidence
    np.testing.assert_array_equal(stolen, before)


def test_finds_the_identity_in_images_that_are_not_scrambled(private: Pixels, public: Pixels) -> None:
    found = attack(private, 4, public)
    assert (found.permutations == np.arange(16)).mean() >= 0.99
    assert found.confidence > 0.7


@pytest.mark.parametrize(("k", "level"), [(2, "public images"), (4, "public images"), (4, "model")])
def test_a_permutation_for_each_image_leaves_chance(private: Pixels, public: Pixels, k: int, level: str) -> None:
    stolen = scramble(k, "image").apply(private)
    found = attack(stolen, k, public if level == "public images" else None)
    blocks, n = found.permutations.shape
    # Against the permutations of one image, five standard deviations of random ones (variance 1 right per block).
    truth = scramble(k, "image").image_keys(private[:1])[0]
    assert (found.permutations == truth).mean() < 1 / n + 5 / (n * blocks**0.5)
    assert found.confidence < 0.1


def test_noise_gives_no_confidence(public: Pixels) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (500, SIZE, SIZE, 3), np.uint8)
    assert attack(noise, 4, public[:500]).confidence < 0.1


def test_images_that_the_model_does_not_describe_give_no_confidence(private: Pixels) -> None:
    """Far smoother along rows than along columns: the answer is wrong, and two halves that trust the model agree."""
    stretched = np.repeat(private[:, :, :8], 4, axis=2)
    found = attack(scramble(8).apply(stretched), 8)
    assert right(found, 8) < 0.5
    assert found.confidence < 0.1


def test_how_strongly_a_pixel_goes_with_all_others_does_not_matter(private: Pixels, public: Pixels) -> None:
    """Noise that all pixels of a stolen image share but those of its border, as if that were darker."""
    shared = np.random.default_rng(5).integers(-20, 21, (COUNT, 1, 1, 1))
    shared = np.broadcast_to(shared, private.shape).copy()
    shared[:, [0, -1]] = shared[:, :, [0, -1]] = 0
    stolen = np.clip(private + shared, 0, 255).astype(np.uint8)
    assert right(attack(scramble(8).apply(stolen), 8, public), 8) >= 0.9


def test_black_images_give_no_confidence(public: Pixels) -> None:
    assert attack(np.zeros((8, SIZE, SIZE, 3), np.uint8), 4, public).confidence == 0


def test_a_single_block_gives_no_confidence(private: Pixels, public: Pixels) -> None:
    found = attack(private[:200, :8, :8], 8, public[:200, :8, :8])
    assert sorted(found.permutations[0]) == list(range(64))
    assert found.confidence == 0


@pytest.mark.parametrize(("true", "guess", "level"), [(4, 2, "public images"), (8, 4, "model")])
def test_a_block_size_that_is_too_small_gives_low_confidence(
    private: Pixels, public: Pixels, true: int, guess: int, level: str
) -> None:
    stolen = scramble(true).apply(private[:600])
    assert attack(stolen, guess, public[:600] if level == "public images" else None).confidence < 0.1


def test_a_multiple_of_the_block_size_is_no_wrong_guess(private: Pixels, public: Pixels) -> None:
    stolen = scramble(2).apply(private)
    found = attack(stolen, 4, public)
    assert (again(private, 4, found.permutations) == to_blocks(stolen, 4)).mean() >= 0.99
    assert found.confidence > 0.7


@pytest.mark.parametrize("k", [0, 1, 5, 64])
def test_refuses_a_block_size_that_does_not_fit(private: Pixels, k: int) -> None:
    with pytest.raises(PrivpipeError, match=rf"divide the image size 32x32; got {k}\. Use one of \[2, 4, 8, 16, 32\]"):
        attack(private[:4], k)


@pytest.mark.parametrize(
    "stolen", [np.zeros((8, 8, 8, 3), np.float16), np.zeros((8, 8, 8), np.uint8), np.zeros((3, 8, 8, 3), np.uint8)]
)
def test_refuses_what_is_no_set_of_images(stolen: Pixels) -> None:
    with pytest.raises(
        PrivpipeError, match=r"stolen images must be uint8 \(N, H, W, C\) with N at least 4; got .* Pass"
    ):
        attack(stolen, 2)


def test_refuses_public_images_of_another_shape(private: Pixels, public: Pixels) -> None:
    with pytest.raises(PrivpipeError, match=r"\(32, 32, 3\); got \(32, 32, 1\)\. Resize or convert them"):
        attack(private[:4], 2, public[:4, ..., :1])


def test_refuses_images_whose_correlations_would_fill_the_memory() -> None:
    with pytest.raises(PrivpipeError, match=rf"{MAX_PIXELS:,} pixels each.*got 128x64\. Cut them"):
        attack(np.zeros((4, 128, 64, 1), np.uint8), 2)
