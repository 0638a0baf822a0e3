"""The banded solution is that of the dense system with the same prior, which is that of near pixels."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array, random_array

from privpipe.attacks.banded import MOST_DIAGONALS, Bands, local_precision, markov_precision, squared
from privpipe.attacks.restoration import Prior, restore
from privpipe.data.synthetic import draw
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.linear import block_diagonal, correlation

SIZE = 16
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.of(draw(300, SIZE, rng=np.random.default_rng(1)).images)


def whole(band: NDArray[np.float64]) -> NDArray[np.float64]:
    """A symmetric matrix from its lower band."""
    lower = sum(np.diag(row[: band.shape[1] - lag], -lag) for lag, row in enumerate(band))
    return np.asarray(lower + np.tril(lower, -1).T)


def operators() -> dict[str, csr_array]:
    some_rows = csr_array(np.diag(np.arange(SIZE * SIZE) > 30).astype(float))
    return {
        "filter": correlation(RNG.normal(size=(5, 5)), SIZE),
        "blocks": block_diagonal(RNG.normal(size=(16, 16, 16)), SIZE, 4),
        "without some rows": csr_array(some_rows @ correlation(RNG.normal(size=(3, 3)), SIZE)),
        "dense": csr_array(random_array((SIZE**2, SIZE**2), density=0.5, rng=RNG)),
    }


@pytest.mark.parametrize("name", operators())
def test_squares_are_those_of_the_matrix(name: str) -> None:
    matrix = operators()[name]
    np.testing.assert_allclose(whole(squared(matrix)), (matrix.T @ matrix).toarray(), atol=1e-12)


def test_both_ways_of_squaring_are_tried() -> None:
    assert len(squared(operators()["dense"])) > MOST_DIAGONALS


def test_a_markov_prior_has_the_covariances_within_its_band(prior: Prior) -> None:
    covariance = prior.covariances[0]
    near = 2 * SIZE
    precision = whole(markov_precision(covariance, near))
    assert np.linalg.eigvalsh(precision).min() > 0
    lags = np.abs(np.subtract.outer(np.arange(len(covariance)), np.arange(len(covariance))))
    assert not precision[lags > near].any()
    implied = np.linalg.inv(precision)
    np.testing.assert_allclose(implied[lags <= near], covariance[lags <= near], rtol=1e-8)


def test_a_regression_on_all_pixels_before_is_the_inverse(prior: Prior) -> None:
    covariance = prior.covariances[1]
    np.testing.assert_allclose(whole(markov_precision(covariance, 10**6)), np.linalg.inv(covariance), atol=1e-9)


@pytest.mark.parametrize("name", operators())
def test_solves_the_system_of_the_module(prior: Prior, name: str) -> None:
    matrix, noise = operators()[name], 0.3
    right = RNG.normal(size=(SIZE * SIZE, 3, 2))
    found = Bands(prior.covariances, noise).solve(matrix, right)
    normal = (matrix.T @ matrix).toarray()
    near = max(2 * SIZE, min(len(squared(matrix)) - 1, 4 * (SIZE + 1)))
    rest = prior.covariances[1:].mean(axis=0)
    for component, covariance in enumerate((prior.covariances[0], rest, rest)):
        precision = whole(markov_precision(covariance, near))
        expected = np.linalg.solve(normal + noise * precision, right[:, component])
        np.testing.assert_allclose(found[:, component], expected, rtol=1e-6, atol=1e-9)


def test_takes_images_of_one_colour() -> None:
    grey = Prior.generic(SIZE, 1)
    matrix, right = correlation(np.ones((1, 1)), SIZE), RNG.normal(size=(SIZE * SIZE, 1, 1))
    found = Bands(grey.covariances, 1e-9).solve(matrix, right)
    np.testing.assert_allclose(found, right, rtol=1e-5)


@pytest.mark.parametrize(("size", "rows"), [(24, 2), (33, 4)])
def test_windows_tell_the_covariances_of_larger_images(size: int, rows: int) -> None:
    """An exponential covariance is the same at all places: those of windows of 16 pixels are its beginning."""

    def covariance(side: int) -> NDArray[np.float64]:
        y, x = np.divmod(np.arange(side * side), side)
        decay = np.exp(-np.hypot(np.subtract.outer(y, y), np.subtract.outer(x, x)) / 10)
        return np.asarray(100 * decay + np.eye(side * side))

    precision = whole(local_precision(covariance(SIZE), size, rows))
    assert np.linalg.eigvalsh(precision).min() > 0
    implied, expected = np.linalg.inv(precision), covariance(size)
    y, x = np.divmod(np.arange(size * size), size)
    near = np.hypot(np.subtract.outer(y, y), np.subtract.outer(x, x)) < 3
    np.testing.assert_allclose(implied[near], expected[near], rtol=0.08)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_large_images_are_nearer_whole_than_in_windows(
    scope: str, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, count = 45, 5
    images = np.ascontiguousarray(draw(200, 48, rng=np.random.default_rng(0)).images[:, :size, :size, :channels])
    method = PERTURBATIONS["random_filter"](size, 5, scope, stream=KeyStream(bytes(range(32))))
    originals, perturbed = images[:count], method.apply(images[:count])
    key = method.dataset_key if scope == "dataset" else method.image_keys(originals)
    prior = Prior.known(images[count:], method, channels)
    found = restore(perturbed, method, key, prior, rounding=0.01)
    alone = restore(perturbed[1:2], method, key if scope == "dataset" else key[1:2], prior, rounding=0.01)
    np.testing.assert_allclose(found[1:2], alone, atol=1e-3)
    monkeypatch.setattr("privpipe.attacks.restoration.MOST_BAND", 0)
    error, before = (
        np.square(restored - originals.astype(np.float64)).mean()
        for restored in (found, restore(perturbed, method, key, prior, rounding=0.01))
    )
    assert error < 0.8 * before
