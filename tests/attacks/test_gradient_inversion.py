"""Gradient descent reaches the minimum of a convex energy, and images with edges come out better for it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks import gradient_inversion
from privpipe.attacks.base import AdversaryView
from privpipe.attacks.gradient_inversion import CHROMA, EDGE, GAUSSIAN, LUMINANCE, GradientInversion
from privpipe.attacks.restoration import Prior, restore
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS

SIZE, STOLEN, TARGETS = 16, 300, 8
Pixels = NDArray[np.uint8]


def drawn(count: int, seed: int) -> Pixels:
    """Dead leaves: flat discs that cover one another, whose gradients are sparse as those of photographs."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIZE, SIZE))
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for image in images:
        image[:] = rng.integers(30, 226, 3)
        for _ in range(6):
            inside = np.hypot(y - rng.uniform(0, SIZE), x - rng.uniform(0, SIZE)) < rng.uniform(2, 7)
            image[inside] = np.clip(rng.integers(30, 226) + rng.normal(0, 12, 3), 0, 255)
    return images


@pytest.fixture(scope="module")
def private() -> Pixels:
    return drawn(STOLEN + TARGETS, 1)


@pytest.fixture(scope="module")
def public() -> Pixels:
    return drawn(600, 2)


def view(private: Pixels, method: str, k: int, public: Pixels | None) -> AdversaryView:
    images = PERTURBATIONS[method](SIZE, k).apply(private)
    return AdversaryView(method, k, "dataset", 0.0, images[:STOLEN], images[STOLEN:], public)


@pytest.mark.parametrize(
    ("method", "k", "share"), [("gaussian_blur", 3, 0.95), ("gaussian_blur", 7, 0.95), ("pixelate", 4, 1.0)]
)
def test_edges_come_out_better_than_in_the_linear_estimate(
    private: Pixels, public: Pixels, method: str, k: int, share: float
) -> None:
    held = view(private, method, k, public)
    attempt = GradientInversion().run(held)
    assert attempt.images is not None and attempt.images.dtype == np.float32
    assert attempt.images.min() >= 0 and attempt.images.max() <= 255
    linear = restore(held.targets, PERTURBATIONS[method](SIZE, k), None, Prior.of(public))
    error, before = (((images - private[STOLEN:]) ** 2).mean() for images in (attempt.images, linear))
    assert error < share * before
    assert attempt.confidence is not None and attempt.confidence > 0.8


@pytest.mark.parametrize(("method", "k"), [("gaussian_blur", 5), ("pixelate", 4)])
def test_what_is_minimised_is_what_the_module_says(
    private: Pixels, public: Pixels, method: str, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = view(private, method, k, public)
    prior = Prior.of(public)
    matrix = PERTURBATIONS[method](SIZE, k).operator(None).toarray()
    whole = matrix if method == "gaussian_blur" else k * k * matrix.T @ matrix
    observed = held.targets.reshape(TARGETS, -1, 3).astype(np.float64)
    noise = (k * k if method == "pixelate" else 1) / 12

    def energy(images: NDArray[np.float32]) -> float:
        flat = images.reshape(TARGETS, -1, 3).astype(np.float64)
        total = ((whole @ flat - observed) ** 2).sum() / (2 * noise)
        components = images.astype(np.float64) @ prior.colours.T
        away = ((images - prior.mean) @ prior.colours.T).reshape(TARGETS, -1, 3)
        for c, weight in enumerate((LUMINANCE, CHROMA, CHROMA)):
            total += GAUSSIAN / 2 * (away[..., c] * np.linalg.solve(prior.covariances[c], away[..., c].T).T).sum()
            down = np.diff(components[..., c], axis=1, append=components[:, -1:, :, c])
            right = np.diff(components[..., c], axis=2, append=components[:, :, -1:, c])
            total += weight * np.sqrt(down**2 + right**2 + EDGE**2).sum()
        return float(total)

    found = GradientInversion().run(held).images
    assert found is not None
    monkeypatch.setattr(gradient_inversion, "STEPS", 900)
    limit = GradientInversion().run(held).images
    assert limit is not None
    start = restore(held.targets, PERTURBATIONS[method](SIZE, k), None, prior)
    assert energy(limit) <= energy(found) < energy(start)
    # Nothing near the limit is lower: the energy is convex, so that is the minimum.
    rng = np.random.default_rng(3)
    for size in (0.1, 1.0, 5.0):
        moved = np.clip(limit + rng.normal(0, size, limit.shape), 0, 255).astype(np.float32)
        assert energy(moved) > energy(limit)
        assert energy(np.float32(0.99) * limit + np.float32(0.01) * start) > energy(limit)


def test_a_wrong_k_gives_no_confidence(private: Pixels, public: Pixels) -> None:
    held = view(private, "gaussian_blur", 3, public)
    wrong = AdversaryView("gaussian_blur", 7, "dataset", 0.0, held.stolen, held.targets, public)
    found = GradientInversion().run(wrong).confidence
    assert found is not None and found < 0.01


def test_is_deterministic(private: Pixels, public: Pixels) -> None:
    held = view(private, "gaussian_blur", 5, public)
    first, second = (GradientInversion().run(held).images for _ in range(2))
    assert first is not None and second is not None
    np.testing.assert_array_equal(first, second)


def test_applies_to_what_is_known_without_a_key() -> None:
    applies = [name for name in PERTURBATIONS if GradientInversion().applies(PERTURBATIONS[name](SIZE, 1))]
    assert applies == ["gaussian_blur", "pixelate"]


def test_refuses_to_run_without_public_images(private: Pixels) -> None:
    with pytest.raises(PrivpipeError, match=r"needs public images\. Run it at level L1"):
        GradientInversion().run(view(private, "gaussian_blur", 3, None))
