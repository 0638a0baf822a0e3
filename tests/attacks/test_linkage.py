"""Every method's images are told apart without the key; the likelihoods agree with their slow definitions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.linkage import image_similarity, method_similarity
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, KeyStream, Perturbation, block_mix, correlated_noise, random_filter
from privpipe.perturb.base import Array, to_blocks
from privpipe.perturb.block_scramble import BlockScramble
from privpipe.perturb.values import pixel_values

SIZE, COUNT = 16, 60
GALLERY = draw(COUNT, SIZE, rng=np.random.default_rng(5)).images
KEY = KeyStream(bytes(range(32)))


def perturbed(method: str, k: int, scope: str = "image", sigma: float = 0.0) -> Array:
    return METHODS[method](SIZE, k, scope, sigma, KEY).apply(GALLERY)


def top1(similarity: NDArray[np.float32]) -> float:
    return float((similarity.argmax(axis=1) == np.arange(len(similarity))).mean())


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize(
    ("method", "k", "sigma"),
    [
        ("none", 1, 0),
        ("gaussian_blur", 5, 0),
        ("pixelate", 4, 0),
        ("block_scramble", 4, 0),
        ("block_scramble", 16, 0),
        ("random_filter", 1, 0),
        ("random_filter", 5, 0),
        ("block_mix", 2, 0),
        ("block_mix", 8, 0),
        ("gaussian_noise", 1, 50),
        ("correlated_noise", 5, 50),
    ],
)
def test_the_method_alone_tells_the_images_apart(method: str, k: int, sigma: float, scope: str) -> None:
    similarity = method_similarity(perturbed(method, k, scope, sigma), GALLERY, METHODS[method](SIZE, k, scope, sigma))
    assert similarity.shape == (COUNT, COUNT) and similarity.dtype == np.float32
    assert (similarity.max(axis=1) == 0).all()
    assert top1(similarity) >= 0.95


def test_a_random_filter_of_other_images_is_not_explained() -> None:
    targets = perturbed("random_filter", 3)
    similarity = method_similarity(targets, GALLERY, METHODS["random_filter"](SIZE, 3, "image"))
    others = similarity[~np.eye(COUNT, dtype=bool)].reshape(COUNT, -1).max(axis=1)
    assert np.median(others) < -0.1


def test_the_best_kernel_is_that_of_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_filter, "MIN_EQUATIONS", SIZE * SIZE * 3)  # all of them
    targets = perturbed("random_filter", 3)[:4]
    found = method_similarity(targets, GALLERY[:5], METHODS["random_filter"](SIZE, 3, "image"))
    residuals = np.empty((4, 5))
    for g, image in enumerate(GALLERY[:5]):
        # Any kernel is a sum of those with a single 1, and their outputs come from the method's own filter.
        units = np.eye(9).reshape(9, 3, 3)
        copies = np.stack([_filtered(image, unit).ravel() for unit in units], axis=1)
        for t, target in enumerate(targets):
            residuals[t, g] = np.linalg.lstsq(copies, target.ravel().astype(np.float64), rcond=None)[1][0]
    expected = residuals.min(axis=1, keepdims=True) - residuals
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def _filtered(image: NDArray[np.uint8], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(image / 255, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    return np.asarray(sum(kernel[dy, dx] * padded[dy : dy + SIZE, dx : dx + SIZE] for dy, dx in shifts))


def test_block_mix_is_a_gaussian_likelihood() -> None:
    targets = perturbed("block_mix", 4)[:3]
    found = method_similarity(targets, GALLERY[:4], METHODS["block_mix"](SIZE, 4, "image"))
    expected = np.zeros((3, 4))
    for t, mixed in enumerate(to_blocks(targets, 4).astype(np.float64)):
        for g, blocks in enumerate(to_blocks(GALLERY[:4], 4) / 255):
            for y, x in zip(mixed, blocks, strict=True):
                covariance = x.T @ x / 16 + block_mix.ROUNDING_NEAR_WHITE * np.eye(3)
                sign, volume = np.linalg.slogdet(covariance)
                assert sign == 1
                expected[t, g] -= sum(row @ np.linalg.solve(covariance, row) + volume for row in y) / 2
    np.testing.assert_allclose(found, expected - expected.max(axis=1, keepdims=True), rtol=1e-3, atol=1e-2)


def test_correlated_noise_is_weighted_with_its_inverse_covariance() -> None:
    sigma, k = 40.0, 3
    method = METHODS["correlated_noise"](SIZE, k, "image", sigma, KEY)
    # The noise is linear in white noise: its covariance from the fields that single white pixels give.
    units = sigma * np.eye(SIZE * SIZE, dtype=np.float32)
    fields = correlated_noise.smooth(units.reshape(-1, SIZE, SIZE, 1), method._weights)
    responses = fields.reshape(units.shape).astype(np.float64)
    rounded = correlated_noise.ROUNDING_NEAR_WHITE + method.step**2 / 12
    covariance = responses.T @ responses + rounded * 255**2 * np.eye(SIZE * SIZE)
    targets = method.apply(GALLERY)[:3]
    found = method_similarity(targets, GALLERY[:4], method)
    difference = pixel_values(targets)[:, None].astype(np.float64) - GALLERY[:4]
    planes = difference.reshape(3, 4, SIZE * SIZE, 3)
    weighted = np.linalg.solve(covariance, planes)
    expected = -(planes * weighted).sum(axis=(2, 3)) / 2
    np.testing.assert_allclose(found, expected - expected.max(axis=1, keepdims=True), rtol=1e-3, atol=1e-2)


def test_images_resemble_themselves_whatever_the_brightness_and_contrast() -> None:
    images = (0.3 * GALLERY + 40).astype(np.float32)
    similarity = image_similarity(images, GALLERY)
    np.testing.assert_allclose(np.diagonal(similarity), 2, rtol=1e-4)
    assert top1(similarity) == 1


def test_images_are_told_apart_through_noise_and_through_blur() -> None:
    noisy = np.random.default_rng(1).normal(GALLERY, 60).astype(np.float32)
    blurred = METHODS["pixelate"](SIZE, 4).apply(GALLERY).astype(np.float32)
    for images in (noisy, blurred):
        assert top1(image_similarity(images, GALLERY)) >= 0.9


@pytest.mark.parametrize("size", [8, 10, 24])
def test_images_of_any_size(size: int) -> None:
    gallery = draw(20, 24, rng=np.random.default_rng(5)).images[:, :size, :size]
    assert top1(image_similarity(gallery.astype(np.float32), gallery)) == 1


def test_blank_reconstructions_resemble_all_alike() -> None:
    blank = np.full_like(GALLERY, 7).astype(np.float32)
    assert (image_similarity(blank, GALLERY) == 0).all()


class Secret(BlockScramble):
    """A keyed method that does not say how likely anything is."""

    log_likelihood = Perturbation.log_likelihood


def test_refuses_a_keyed_method_that_knows_no_likelihood() -> None:
    with pytest.raises(PrivpipeError, match=r"does not say how likely an image is.*Define Secret\.log_likelihood"):
        method_similarity(GALLERY, GALLERY, Secret(SIZE, 4))


def test_refuses_a_gallery_of_another_shape() -> None:
    with pytest.raises(PrivpipeError, match=r"targets' shape \(16, 16, 3\); got uint8 \(60, 8, 8, 3\)\. Resize"):
        image_similarity(GALLERY.astype(np.float32), GALLERY[:, :8, :8])
