"""The kernel of a shared random filter is found from filtered and public images; where there is none, the attack says
so."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.filter_likelihood import MAX_SIDE, MIN_IMAGES, FilterLikelihood, Recovered, attack
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.gaussian_blur import GaussianBlur
from privpipe.perturb.random_filter import RandomFilter

COUNT, SIZE = 700, 24
PRIVATE, PUBLIC = COUNT, COUNT  # images of the fixtures
Pixels = NDArray[np.uint8]


def random_filter(k: int, key: int = 0, scope: str = "dataset", size: int = SIZE) -> RandomFilter:
    return RandomFilter(size, k, scope, stream=KeyStream(bytes([key]) * 32))


def cosine(found: Recovered, weights: NDArray[np.float64]) -> float:
    """With the sign: 1 where all is right."""
    return float((found.weights * weights).sum() / np.linalg.norm(found.weights) / np.linalg.norm(weights))


@pytest.mark.parametrize(("k", "key"), [(3, 0), (3, 1), (3, 2), (5, 0)])
def test_finds_the_kernel_with_its_sign_and_turn(private: Pixels, public: Pixels, k: int, key: int) -> None:
    method = random_filter(k, key)
    found = attack(method.apply(private), k, public)
    assert found.weights.shape == (k, k)
    assert found.weights.dtype == np.float64
    assert cosine(found, method.weights) > 0.99
    assert np.linalg.norm(found.weights) == pytest.approx(np.linalg.norm(method.weights), rel=0.1)
    assert found.confidence > 0.7
    off = found.weights / np.linalg.norm(found.weights) - method.weights / np.linalg.norm(method.weights)
    expected = found.weight_error / (found.weights**2).mean() / k**2
    assert 0.05 < expected / (off**2).mean() < 20


def test_a_kernel_of_one_weight_is_a_factor(private: Pixels, public: Pixels) -> None:
    method = random_filter(1)
    found = attack(method.apply(private), 1, public)
    assert found.weights[0, 0] == pytest.approx(method.weights[0, 0], rel=0.05)
    assert found.confidence > 0.7


def test_restores_the_targets(private: Pixels, public: Pixels) -> None:
    method = random_filter(3)
    stolen, targets = method.apply(private[20:]), method.apply(private[:20])
    attempt = FilterLikelihood().run(AdversaryView("random_filter", 3, "dataset", 0.0, stolen, targets, public))
    assert attempt.images is not None
    assert attempt.key is not None
    assert attempt.images.shape == targets.shape
    assert attempt.images.dtype == np.float32
    # Against the best that anybody does who knows nothing of the image.
    error = ((attempt.images - private[:20]) ** 2).mean()
    assert error < 0.05 * ((private[:20] - public.mean(axis=0)) ** 2).mean()
    np.testing.assert_array_equal(attempt.key, attack(stolen, 3, public).weights)


def test_applies_to_the_shared_random_filter_only() -> None:
    assert FilterLikelihood().applies(RandomFilter(32, 3, "dataset"))
    assert not FilterLikelihood().applies(RandomFilter(32, 3, "image"))
    assert not FilterLikelihood().applies(GaussianBlur(32, 3, "dataset"))


def test_works_on_grey_images_that_are_not_square(private: Pixels, public: Pixels) -> None:
    method = random_filter(3)
    stolen = method.apply(private)[:, :18, :, 1:2]
    assert cosine(attack(stolen, 3, public[:, :18, :, 1:2]), method.weights) > 0.98


def test_cuts_large_images_to_windows() -> None:
    images = draw(200, 64, rng=np.random.default_rng(3)).images
    method = random_filter(3, size=64)
    found = attack(method.apply(images[:100]), 3, images[100:])
    assert cosine(found, method.weights) > 0.98


def test_is_deterministic_and_leaves_its_input_alone(private: Pixels, public: Pixels) -> None:
    stolen = random_filter(3).apply(private[:200])
    before = stolen.copy()
    one, other = (attack(stolen, 3, public[:200], seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.weights, other.weights)
    assert one.confidence == other.confidence
    np.testing.assert_array_equal(stolen, before)


def test_finds_that_images_are_not_filtered(private: Pixels, public: Pixels) -> None:
    found = attack((private / 255).astype(np.float16), 3, public)
    identity = np.zeros((3, 3))
    identity[1, 1] = 1
    np.testing.assert_allclose(found.weights, identity, atol=0.1)


def test_a_kernel_for_each_image_gives_no_confidence(private: Pixels, public: Pixels) -> None:
    assert attack(random_filter(3, scope="image").apply(private), 3, public).confidence < 0.05


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_noise_gives_no_confidence(public: Pixels, kind: str) -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=public.shape) if kind == "normal" else rng.uniform(size=public.shape)
    assert attack(noise.astype(np.float16), 3, public).confidence < 0.05


def test_black_images_give_no_confidence(public: Pixels) -> None:
    assert attack(np.zeros(public.shape, np.float16), 3, public).confidence == 0


@pytest.mark.parametrize("key", range(3))
def test_a_size_that_is_too_small_gives_no_confidence(private: Pixels, public: Pixels, key: int) -> None:
    assert attack(random_filter(5, key).apply(private), 3, public).confidence < 0.05


@pytest.mark.parametrize("key", range(3))
def test_fields_without_edges_leave_the_turn_open(key: int) -> None:
    # Gaussian fields with the power spectrum of images: a turned kernel gives them the same distribution.
    rng = np.random.default_rng(4)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(48), np.fft.fftfreq(48)))
    fields = np.fft.ifft2(np.fft.fft2(rng.normal(size=(1000, 48, 48))) / (0.02 + frequency) ** 1.5).real[:, :24, :24]
    images = np.clip(np.rint(128 + 25 * fields / fields.std()), 0, 255).astype(np.uint8)[..., None]
    method = random_filter(3, key)
    found = attack(method.apply(images[:500]), 3, images[500:])
    weights = np.stack([method.weights, method.weights[::-1, ::-1]])
    assert max(cosine(found, one) for one in weights) > 0.98
    assert found.turn < 0.99
    assert found.confidence < 0.99


@pytest.mark.parametrize("k", [0, -1, 2, 11, 33])
def test_refuses_a_size_that_does_not_fit(private: Pixels, public: Pixels, k: int) -> None:
    with pytest.raises(PrivpipeError, match=rf"k must be odd and up to 7 for images of 24x24 pixels; got {k}\."):
        attack(private.astype(np.float16), k, public)


@pytest.mark.parametrize(
    "stolen",
    [
        np.zeros((200, 24, 24, 3), np.uint8),
        np.zeros((200, 24, 24), np.float16),
        np.zeros((MIN_IMAGES - 1, 24, 24, 3), np.float16),
    ],
)
def test_refuses_what_is_no_set_of_filtered_images(stolen: Pixels, public: Pixels) -> None:
    with pytest.raises(PrivpipeError, match=r"stolen images must be float16 \(N, H, W, C\) with N at least 100; got"):
        attack(stolen, 3, public)


def test_refuses_public_images_that_do_not_match(private: Pixels, public: Pixels) -> None:
    stolen = random_filter(3).apply(private[:MIN_IMAGES])
    with pytest.raises(PrivpipeError, match=r"\(24, 24, 3\); got \(24, 24, 1\)\. Resize or convert them"):
        attack(stolen, 3, public[..., :1])
    with pytest.raises(PrivpipeError, match="public images must be uint8"):
        attack(stolen, 3, public.astype(np.float16))


def test_refuses_values_that_are_not_finite(public: Pixels) -> None:
    stolen = np.full(public.shape, np.nan, np.float16)
    with pytest.raises(PrivpipeError, match="stolen images must be finite"):
        attack(stolen, 3, public)


def test_refuses_images_that_are_too_large() -> None:
    large = np.zeros((MIN_IMAGES, MAX_SIDE + 1, 8, 1), np.float16)
    with pytest.raises(PrivpipeError, match=r"may have 64x64 pixels.*got 65x8\. Cut"):
        attack(large, 3, np.zeros(large.shape, np.uint8))


def test_refuses_to_run_without_public_images(private: Pixels) -> None:
    stolen = random_filter(3).apply(private[:200])
    with pytest.raises(PrivpipeError, match=r"needs public images; got none\. Run it at level L1"):
        FilterLikelihood().run(AdversaryView("random_filter", 3, "dataset", 0.0, stolen, stolen))
