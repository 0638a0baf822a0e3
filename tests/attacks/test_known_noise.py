"""Known noise is taken off, and what was cut is estimated from its bound and from what was not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.sparse import csr_array
from scipy.stats import truncnorm

from privpipe.attacks.base import Pairs
from privpipe.attacks.known_noise import _Law, beyond, without_noise
from privpipe.attacks.known_plaintext import solve
from privpipe.attacks.restoration import Prior, restore
from privpipe.data.synthetic import draw
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.base import to_blocks
from privpipe.perturb.dp_pix import DpPix
from privpipe.perturb.pixelate import Pixelate
from privpipe.perturb.values import pixel_values
from privpipe.scores import fidelity

SIZE, PRIVATE, PUBLIC = 32, 30, 300
KEY = KeyStream(bytes(range(32)))
Pixels = np.ndarray


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_mean_beyond_a_bound_is_that_of_a_cut_normal_law(side: float) -> None:
    mean, spread = 40.0, 25.0
    for bound in (-300.0, 10.0, 40.0, 90.0, 400.0):
        ends = (-np.inf, (bound - mean) / spread) if side > 0 else ((bound - mean) / spread, np.inf)
        expected = truncnorm.mean(*ends, loc=mean, scale=spread)
        found = beyond(np.array(bound), np.array(side), np.array(mean), np.array(spread))
        assert found == pytest.approx(expected, 1e-6)
    assert beyond(np.array(-1e5), np.array(1.0), np.array(0.0), np.array(1.0)) == pytest.approx(-1e5, abs=1e-3)


def two_values() -> tuple[_Law, np.ndarray, np.ndarray]:
    """The law of two values of one colour, which go together, with its mean and covariance."""
    mean, covariance = np.array([100.0, 120.0]), np.array([[2500.0, 2000.0], [2000.0, 2500.0]])
    prior = Prior(mean.reshape(1, 2, 1), np.eye(1), covariance[None])
    return _Law.of(csr_array(np.eye(2)), prior), mean, covariance + np.eye(2) / 12


def test_a_cut_value_has_the_mean_of_its_law_given_the_other_one() -> None:
    law, mean, covariance = two_values()
    noise = np.array([-150.0, 30.0])
    seen, left = np.array([0.0, 200.0]), np.array([150.0, 170.0])
    found = law.uncut(seen.reshape(1, 2, 1), left.reshape(1, 2, 1)).ravel()
    weight = covariance[0, 1] / covariance[1, 1]
    given, spread = mean[0] + weight * (170 - mean[1]), np.sqrt(covariance[0, 0] - weight * covariance[0, 1])
    expected = truncnorm.mean(-np.inf, (0.5 - noise[0] - given) / spread, loc=given, scale=spread)
    np.testing.assert_allclose(found, [expected, 170], atol=0.1)


def test_two_cut_values_are_near_the_mean_of_their_law() -> None:
    """The mean-field approximation is none but for what goes together beyond the bounds."""
    law, mean, covariance = two_values()
    bounds = np.array([90.0, 60.0])
    found = law.uncut(np.zeros((1, 2, 1)), (bounds - 0.5).reshape(1, 2, 1)).ravel()
    inverse = np.linalg.inv(covariance)

    def density(y: float, x: float) -> float:
        d = np.array([x, y]) - mean
        return float(np.exp(-d @ inverse @ d / 2))

    ends = (-400, bounds[0], -400, bounds[1])
    total = dblquad(density, *ends)[0]
    expected = [
        dblquad(lambda y, x: x * density(y, x), *ends)[0] / total,
        dblquad(lambda y, x: y * density(y, x), *ends)[0] / total,
    ]
    alone = [truncnorm.mean(-np.inf, (b - m) / 50, loc=m, scale=50) for b, m in zip(bounds, mean, strict=True)]
    assert np.abs(found - expected).max() < 0.6 * np.abs(np.array(alone) - expected).max()


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("size", [32, 48])
def test_with_the_key_images_come_back_as_from_their_means(size: int, scope: str) -> None:
    """Few cells are cut here: what is left is what pixelation takes away. Above 32×32 in windows."""
    images = draw(120, size, rng=np.random.default_rng(3)).images
    originals, prior = images[:20], Prior.known(images[20:], DpPix(size, 4), 3)
    method = DpPix(size, 4, scope, 0.0, KEY, epsilon=1.0, m=1)
    key = method.dataset_key if scope == "dataset" else method.image_keys(originals)
    perturbed = method.apply(originals)
    blind, found = restore(perturbed, method, None, prior), restore(perturbed, method, key, prior)
    plain = Pixelate(size, 4)
    best = restore(plain.apply(originals), plain, None, prior)
    error, least, most = (np.square(one - originals).mean() for one in (found, best, blind))
    assert error < 1.05 * least < 0.8 * most
    cells = to_blocks(pixel_values(perturbed), 4).mean(axis=2)
    whole = (cells > 0) & (cells < 255)
    left = to_blocks(without_noise(perturbed, method, key, prior) * 255, 4).mean(axis=2)
    assert 0.9 < whole.mean() < 1
    assert np.abs(left - to_blocks(originals.astype(float), 4).mean(axis=2))[whole].max() < 0.501


def test_what_was_cut_is_better_than_its_bound_and_than_the_prior(private: Pixels, public: Pixels) -> None:
    method = DpPix(SIZE, 4, "image", 0.0, KEY, epsilon=5.0, m=16)
    perturbed, key, prior = method.apply(private), method.image_keys(private), Prior.of(public)
    truth, seen = (to_blocks(one.astype(float), 4).mean(axis=2) for one in (private, perturbed))
    cut = (seen <= 0) | (seen >= 255)
    assert 0.05 < cut.mean() < 0.4
    found = to_blocks(without_noise(perturbed, method, key, prior) * 255, 4).mean(axis=2)
    bounds = (seen - key.reshape(seen.shape)).clip(0, 255)
    expected = np.broadcast_to(to_blocks(prior.mean[None], 4).mean(axis=2), seen.shape)
    error, of_bounds, of_prior = (np.square(one - truth)[cut].mean() for one in (found, bounds, expected))
    assert error < 0.2 * min(of_bounds, of_prior)


def test_the_key_is_an_upper_bound_of_every_other_level(private: Pixels, public: Pixels) -> None:
    """Noise so strong that most cells are cut: the key tells of the images all the same."""
    method = DpPix(SIZE, 4, "image", 0.0, KEY, epsilon=0.5, m=16)
    perturbed, prior = method.apply(private), Prior.of(public)
    assert ((perturbed == 0) | (perturbed == 255)).mean() > 0.7
    with_key, without = (
        fidelity.ssim(private, restore(perturbed, method, key, prior)).mean()
        for key in (method.image_keys(private), None)
    )
    assert with_key > without + 0.08


@pytest.mark.parametrize("name", [name for name, kind in PERTURBATIONS.items() if kind.noise_is_key])
def test_the_noise_is_what_the_operator_leaves(name: str) -> None:
    weak = {"epsilon": 99.0, "m": 1} if name == "dp_pix" else {}
    method = PERTURBATIONS[name](16, 1, "dataset", 5.0, KEY, **weak)
    images = np.random.default_rng(0).integers(110, 140, (2, 16, 16, 3), np.uint8)
    seen = method.observations(pixel_values(method.apply(images)))
    for one, image in zip(seen, images, strict=True):
        left = one - method.operator(None) @ image.reshape(-1, 3).astype(float)
        np.testing.assert_allclose(left.reshape(method.dataset_key.shape), method.dataset_key, atol=0.51)


def test_known_pairs_give_the_noise_but_where_all_of_them_were_cut(private: Pixels) -> None:
    method = DpPix(SIZE, 4, "dataset", 0.0, KEY, epsilon=0.5, m=4)
    perturbed, key = method.apply(private), method.dataset_key
    solved = solve(Pairs(private, perturbed), method)
    seen, truth = (to_blocks(one.astype(float), 4).mean(axis=2).reshape(-1, 8, 8, 3) for one in (perturbed, private))
    known = ((seen > 0) & (seen < 255)).any(axis=0)
    assert solved.key.shape == key.shape and 0.5 < known.mean() < 1
    assert np.abs(solved.key - key)[known].max() < 0.501
    black, white = ~known & (seen[0] == 0), ~known & (seen[0] == 255)
    np.testing.assert_allclose(solved.key[black], -truth.max(axis=0)[black], atol=1e-4)
    np.testing.assert_allclose(solved.key[white], 255 - truth.min(axis=0)[white], atol=1e-4)
    assert (key[black] < solved.key[black] + 0.5).all() and (key[white] > solved.key[white] - 0.5).all()
    assert 0.9 * known.mean() < solved.confidence <= known.mean()
    other = solve(Pairs(private, replace(method, scope="image").apply(private)), method)
    assert other.confidence < 0.01
