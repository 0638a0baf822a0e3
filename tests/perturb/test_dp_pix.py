"""DP-Pix: means plus Laplace noise of the scale that its formula names, and the epsilons that follow."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, laplace

from privpipe.attacks.base import Pairs
from privpipe.attacks.known_plaintext import solve
from privpipe.attacks.linkage import method_similarity
from privpipe.attacks.one_call import attack
from privpipe.data.synthetic import draw
from privpipe.perturb import KeyStream
from privpipe.perturb.base import to_blocks
from privpipe.perturb.dp_pix import DpPix
from privpipe.scores.guarantee import guarantee

KEY = KeyStream(bytes(range(32)))
IMAGES = draw(60, 16, rng=np.random.default_rng(0)).images


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize(("k", "channels"), [(1, 3), (2, 1), (4, 3), (16, 2)])
def test_cells_are_means_plus_noise_cut_and_rounded(k: int, channels: int, scope: str) -> None:
    method = DpPix(16, k, scope, 0.0, KEY, epsilon=20.0, m=4)
    images = np.resize(IMAGES[:4], (4, 16, 16, channels))
    noise = (
        method.image_keys(images) if scope == "image" else method._noise(method.shared_bytes(method._size(channels)))
    )
    perturbed = method.apply(images)
    for n, image in enumerate(images):
        for y, x, c in np.ndindex(16 // k, 16 // k, channels):
            cell = perturbed[n, y * k : y * k + k, x * k : x * k + k, c]
            mean = image[y * k : y * k + k, x * k : x * k + k, c].mean()
            expected = np.clip(mean + float(noise[n if scope == "image" else 0, y, x, c]), 0, 255)
            assert (cell == cell[0, 0]).all() and abs(float(cell[0, 0]) - expected) < 0.501


def test_the_noise_has_the_law_and_scale_of_the_definition() -> None:
    method = DpPix(16, 4, "image", 0.0, KEY, epsilon=0.5, m=16)
    assert method.scale == 255 * 16 / (4**2 * 0.5)
    noise = method.image_keys(np.random.default_rng(0).integers(0, 256, (400, 16, 16, 3), np.uint8)).ravel()
    assert kstest(noise / method.scale, laplace.cdf).pvalue > 0.01
    assert np.abs(noise).max() < 44.4 * method.scale


def test_noise_has_no_steps_by_which_levels_tell_means() -> None:
    method = DpPix(16, 2, "dataset", 0.0, KEY)
    noise = method._noise(method.shared_bytes(64 * method._size(3)).reshape(64, -1))
    assert len(np.unique(noise)) == noise.size


def test_epsilon_holds_for_m_pixels_of_one_colour() -> None:
    """Worst case: m pixels of one cell turn white; the density of no output grows by more than e^epsilon."""
    method = DpPix(16, 4, "image", 0.0, KEY, epsilon=0.5, m=5)
    change = 5 * 255 / 16
    values = np.linspace(-5000, 5000, 10_001)
    ratio = laplace.logpdf(values, scale=method.scale) - laplace.logpdf(values, loc=change, scale=method.scale)
    assert np.abs(ratio).max() == pytest.approx(0.5)


def test_the_guarantee_is_that_of_a_pixel_and_of_a_whole_image() -> None:
    promised = guarantee("dp_pix", 32, 3, 4, "image", 0.0, settings={"epsilon": 0.5, "m": 16})
    assert promised.epsilon_pixel == pytest.approx(3 * 0.5 / 16) and promised.delta == 0
    assert promised.epsilon_image == pytest.approx(3 * 32 * 32 * 0.5 / 16)
    assert "96-locally differentially private for a whole image" in promised.statement
    assert guarantee("dp_pix", 32, 3, 4, "dataset", 0.0).epsilon_image is None


def test_settings_have_legal_values_and_change_the_noise() -> None:
    for name, value, legal in (("epsilon", 0, "a number over 0"), ("m", 1.5, "a whole number 1 or more")):
        (problem,) = DpPix.setting_problems(32, 4, 0.0, {name: value})
        assert f"must be {legal}" in problem
    method = DpPix(32, 4, "dataset", 0.0, KEY)
    other = replace(method, epsilon=1.0)
    assert abs(np.corrcoef(method.dataset_key.ravel(), other.dataset_key.ravel())[0, 1]) < 0.5
    flipped = replace(method, stream=KeyStream(bytes([1, *range(1, 32)])))
    assert method.key_similarity(method.dataset_key, flipped.dataset_key).pixels < 0.5


def test_known_pairs_give_shared_noise() -> None:
    method = DpPix(16, 4, "dataset", 0.0, KEY, epsilon=50.0)
    solved = solve(Pairs(IMAGES, method.apply(IMAGES)), method)
    assert solved.key is not None
    assert method.key_similarity(solved.key, method.dataset_key).pixels > 0.999


def test_weak_noise_tells_whose_image_it_is_and_strong_noise_does_not() -> None:
    found = []
    for epsilon in (500.0, 0.05):
        method = DpPix(16, 4, "image", 0.0, KEY, epsilon=epsilon)
        found.append((method_similarity(method.apply(IMAGES), IMAGES, method).argmax(axis=1) == np.arange(60)).mean())
    assert found[0] == 1 and found[1] < 0.2
    with pytest.raises(Exception, match="can turn any image into any output"):
        DpPix(16, 4, "image").orbit(IMAGES)


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_every_attack_that_applies_runs(scope: str) -> None:
    """Among them is the linear estimate, which compares the spectrum of all pixels with that of the cells' noise."""
    perturbed = DpPix(16, 4, scope, 0.0, KEY, epsilon=200.0).apply(IMAGES)
    known = (IMAGES[:10], perturbed[:10])
    runs = attack(perturbed[:40], "dp_pix", k=4, scope=scope, public=IMAGES[40:], pairs=known, epsilon=200.0)
    expected = {"as_is", "wiener", *(("shared_field", "known_plaintext") if scope == "dataset" else ())}
    assert {run.attack for run in runs} == expected and all(run.problem is None for run in runs)
    one = 2 * DpPix(16, 4).scale ** 2
    covariance = np.kron(np.kron(np.eye(4), np.ones((4, 4))), np.kron(np.eye(4), np.ones((4, 4)))) * one
    np.testing.assert_allclose(DpPix(16, 4).image_noise_covariance(), covariance)


def test_it_restores_from_means_with_noise_of_known_variance() -> None:
    method = DpPix(16, 4)
    assert method.noise_covariance()[0, 0] == pytest.approx(laplace.var(scale=method.scale))
    seen = to_blocks(IMAGES[:2].astype(np.float32), 4).mean(axis=2)
    np.testing.assert_allclose(method.observations(IMAGES[:2].astype(np.float32)), seen, rtol=1e-6)
    products = method.operator(None) @ IMAGES[0].reshape(256, 3).astype(float)
    np.testing.assert_allclose(products, seen[0], rtol=1e-5)
