"""The estimate is the textbook formula with the true operators, for every key; what it cannot do is refused."""

import re
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.restoration import Prior, restore
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, KeyStream
from privpipe.perturb.base import Array, Perturbation
from privpipe.perturb.gaussian_blur import blur_row, blur_sigma
from privpipe.perturb.random_filter import RandomFilter
from privpipe.perturb.values import pixel_values

SIZE = 16
PRIVATE = 12  # images of the fixture
KEY = KeyStream(bytes(range(32)))
KEYED = ("random_filter", "block_mix", "block_scramble")
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.of(draw(400, SIZE, rng=np.random.default_rng(2)).images)


def method_of(name: str, k: int, scope: str = "dataset", sigma: float = 20.0) -> Perturbation:
    return METHODS[name](SIZE, k, scope, sigma, KEY)


def key_of(method: Perturbation, images: Pixels) -> Array | None:
    if method.name not in KEYED:
        return None
    return method.dataset_key if method.scope == "dataset" else method.image_keys(images)


def error(images: NDArray[Any], originals: Pixels) -> float:
    return float(((images.astype(np.float64) - originals) ** 2).mean())


@pytest.mark.parametrize(("name", "k"), [("gaussian_blur", 5), ("random_filter", 3), ("block_mix", 4)])
def test_the_operator_is_what_the_method_does(private: Pixels, name: str, k: int) -> None:
    method = method_of(name, k)
    matrix = method.operator(key_of(method, private[:1]))
    expected = matrix @ private[0].reshape(-1, 3)
    tolerance = 0.5001 if method.exact else np.abs(expected).max() / 2048
    np.testing.assert_allclose(pixel_values(method.apply(private[:1])).reshape(-1, 3), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("k", [1, 3, 5, 7, 15, 31])
def test_the_blur_has_the_weights_of_opencv(k: int) -> None:
    image = np.random.default_rng(k).integers(0, 256, (32, 32), np.uint8)
    row = blur_row(k)
    exact = cv2.sepFilter2D(image.astype(np.float64), cv2.CV_64F, row, row)
    assert np.abs(cv2.GaussianBlur(image, (k, k), blur_sigma(k)) - exact).max() <= 0.5
    assert row.sum() == 1


@pytest.mark.parametrize(("name", "k"), [("gaussian_noise", 1), ("correlated_noise", 5)])
def test_the_covariance_is_that_of_the_noise(name: str, k: int) -> None:
    fields = method_of(name, k, "image").image_keys(np.zeros((400, SIZE, SIZE, 3), np.uint8))
    assert fields is not None
    rows = fields.transpose(0, 3, 1, 2).reshape(-1, SIZE * SIZE)
    expected = method_of(name, k, "image").noise_covariance()
    assert expected is not None
    spread = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / len(rows))
    assert np.abs((rows.T @ rows / len(rows) - expected) / spread).max() < 6


@pytest.mark.parametrize("name", ["gaussian_blur", "random_filter", "correlated_noise"])
def test_is_the_textbook_formula_of_all_colours_together(private: Pixels, prior: Prior, name: str) -> None:
    method = method_of(name, 3, "image" if name == "correlated_noise" else "dataset")
    perturbed, key = method.apply(private), key_of(method, private[:1])
    # One covariance of all pixels and colours, and K and N as they act on it.
    joint = np.einsum("ca,cpq,cb->paqb", prior.colours, prior.covariances, prior.colours).reshape(3 * SIZE**2, -1)
    matrix = np.kron(method.operator(key).toarray(), np.eye(3))
    if perturbed.dtype == np.uint8:
        noise = np.eye(len(joint)) / 12
    else:
        noise = np.eye(len(joint)) * (np.spacing(np.abs(perturbed)).astype(np.float64) ** 2).mean() / 12 * 255**2
    covariance = method.noise_covariance()
    assert (covariance is not None) == (name == "correlated_noise")
    if covariance is not None:
        noise += np.kron(covariance, np.eye(3))
    deviations = pixel_values(perturbed).reshape(len(private), -1) - matrix @ prior.mean.ravel()
    gain = np.linalg.solve(matrix @ joint @ matrix.T + noise, matrix @ joint).T
    expected = np.clip(prior.mean.ravel() + deviations @ gain.T, 0, 255).reshape(private.shape)
    found = restore(perturbed, method, key, prior)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "k", "scope"),
    [
        ("gaussian_blur", 3, "dataset"),
        ("pixelate", 2, "dataset"),
        ("gaussian_noise", 1, "image"),
        ("correlated_noise", 3, "image"),
        ("gaussian_noise", 1, "dataset"),
    ],
)
@pytest.mark.parametrize("generic", [True, False])
def test_a_restored_image_is_nearer_than_the_perturbed(
    private: Pixels, prior: Prior, name: str, k: int, scope: str, generic: bool
) -> None:
    method = method_of(name, k, scope)
    perturbed = method.apply(private)
    found = restore(perturbed, method, None, Prior.generic(SIZE, 3) if generic else prior)
    assert error(found, private) < 0.9 * error(np.clip(pixel_values(perturbed), 0, 255), private)


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize(("name", "k", "most"), [("random_filter", 3, 20.0), ("block_mix", 4, 2.0)])
def test_a_known_key_gives_the_image_back(
    private: Pixels, prior: Prior, name: str, k: int, most: float, scope: str
) -> None:
    method = method_of(name, k, scope)
    found = restore(method.apply(private), method, key_of(method, private), prior)
    assert error(found, private) < most


def test_one_key_for_each_image_restores_as_well_as_the_same_key_for_all(private: Pixels, prior: Prior) -> None:
    method = method_of("random_filter", 5)
    perturbed, key = method.apply(private), method.dataset_key
    assert key is not None
    shared = restore(perturbed, method, key, prior)
    each = restore(perturbed, method, np.repeat(key[None], len(private), axis=0), prior)
    # Not the same: the prior of the second takes less of the sample, see `privpipe.attacks.banded`.
    np.testing.assert_allclose(each, shared, atol=15)
    assert error(each, private) < 1.05 * error(shared, private)


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_a_scramble_is_undone_exactly(private: Pixels, prior: Prior, scope: str) -> None:
    method = method_of("block_scramble", 4, scope)
    found = restore(method.apply(private), method, key_of(method, private), prior)
    np.testing.assert_array_equal(found, private)


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_a_known_field_is_subtracted(private: Pixels, prior: Prior, scope: str) -> None:
    method = method_of("correlated_noise", 3, scope)
    key = method.dataset_key if scope == "dataset" else method.image_keys(private)
    found = restore(method.apply(private), method, key, prior)
    np.testing.assert_allclose(found, private, atol=0.2)


def test_unperturbed_images_stay(private: Pixels, prior: Prior) -> None:
    np.testing.assert_array_equal(restore(private, method_of("none", 1), None, prior), private)


def test_works_on_grey_images(private: Pixels) -> None:
    grey = private[..., 1:2]
    method = method_of("gaussian_blur", 3)
    blurred = method.apply(grey)
    for prior in (Prior.generic(SIZE, 1), Prior.of(grey)):
        assert error(restore(blurred, method, None, prior), grey) < 0.5 * error(blurred, grey)


def test_a_prior_of_few_images_is_positive_definite(private: Pixels) -> None:
    for prior in (Prior.of(private[:2]), Prior.of(np.zeros_like(private)), Prior.generic(SIZE, 3)):
        assert np.linalg.eigvalsh(prior.covariances).min() > 0
        np.testing.assert_allclose(prior.colours @ prior.colours.T, np.eye(3), atol=1e-12)


def test_a_prior_of_many_images_has_their_moments() -> None:
    images = draw(3000, 8, rng=np.random.default_rng(3)).images
    both = np.concatenate([images, images[:, :, ::-1]]).astype(np.float64)
    prior = Prior.of(images)
    np.testing.assert_allclose(prior.mean, both.mean(axis=0))
    components = ((both - both.mean(axis=0)) @ prior.colours.T).reshape(-1, 64, 3)
    for component in range(3):
        expected = np.cov(components[:, :, component].T)
        assert np.abs(prior.covariances[component] - expected).max() < 0.15 * expected.max()


def test_is_deterministic_and_leaves_its_input_alone(private: Pixels, prior: Prior) -> None:
    method = method_of("gaussian_blur", 5)
    perturbed = method.apply(private)
    before = perturbed.copy()
    first, second = (restore(perturbed, method, None, prior) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(perturbed, before)


@pytest.mark.parametrize("shape", [None, (3, 3, 3), (5, 5), (11, 3, 3)])
def test_refuses_a_key_of_another_form(private: Pixels, prior: Prior, shape: tuple[int, ...] | None) -> None:
    key = None if shape is None else np.ones(shape)
    message = rf"key of random_filter must be \(3, 3\), or \(12, 3, 3\) .*; got {re.escape(str(shape))}\. Pass"
    with pytest.raises(PrivpipeError, match=message):
        restore(method_of("random_filter", 3).apply(private), method_of("random_filter", 3), key, prior)


class Sharpen(Perturbation):
    """Says nothing of itself but what it does."""

    name = "sharpen"
    summary = "edges get steeper"

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    def apply(self, *given: Any, **options: Any) -> Array:
        return given[0]


def test_refuses_a_method_that_is_not_known_to_be_linear(private: Pixels, prior: Prior) -> None:
    with pytest.raises(PrivpipeError, match=r"^sharpen has no linear operator.*Define Sharpen\.operator if there is"):
        restore(private, Sharpen(SIZE), None, prior)


class NoisyFilter(RandomFilter):
    """A filter under noise: both an operator for each image and a covariance."""

    def noise_covariance(self) -> NDArray[np.float64] | None:
        return self.sigma**2 * np.eye(self.image_size**2)


def test_noise_counts_under_keys_of_each_image_too(private: Pixels, prior: Prior) -> None:
    method = NoisyFilter(SIZE, 3, "dataset", 20.0, KEY)
    key = method.dataset_key
    noise = np.random.default_rng(5).normal(0, 20 / 255, private.shape)
    perturbed = (method.apply(private) + noise).astype(np.float16)
    shared = restore(perturbed, method, key, prior)
    each = restore(perturbed, method, np.repeat(key[None], len(private), axis=0), prior)
    np.testing.assert_allclose(each, shared, atol=0.05)
    assert error(shared, private) < error(restore(perturbed, method_of("random_filter", 3), key, prior), private) / 2


def test_refuses_a_prior_of_other_images(private: Pixels) -> None:
    with pytest.raises(
        PrivpipeError,
        match=r"\(16, 16, 3\) as the perturbed ones, or of windows of 16 pixels; got \(8, 8, 3\)\. Make it",
    ):
        restore(private, method_of("gaussian_blur", 3), None, Prior.generic(8, 3))
    with pytest.raises(PrivpipeError, match=r"or of windows of 16 pixels; got None\. Make it"):
        restore(private, method_of("gaussian_blur", 3), None, None)


@pytest.mark.parametrize("public", [np.zeros((8, 8, 8, 3), np.float16), np.zeros((1, 8, 8, 3), np.uint8)])
def test_refuses_what_is_no_set_of_public_images(public: Pixels) -> None:
    with pytest.raises(PrivpipeError, match=r"public images must be uint8 \(M, H, W, C\), square, .*; got .* Pass"):
        Prior.of(public)
