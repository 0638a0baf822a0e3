"""Faster likelihoods rank the candidates as their definitions in float64 do."""

import numpy as np
import pytest

from privpipe.attacks.linkage import method_similarity
from privpipe.data.synthetic import draw
from privpipe.perturb import METHODS, KeyStream, random_filter
from privpipe.perturb.base import to_blocks
from privpipe.perturb.block_mix import _inverses, _products
from privpipe.perturb.distances import centred
from privpipe.perturb.gaussian_blur import kernel
from privpipe.perturb.gaussian_noise import GaussianNoise
from privpipe.perturb.random_filter import inverse_roots, shifted
from privpipe.perturb.values import ROUNDING_NEAR_WHITE, pixel_values

SIZE, COUNT = 16, 80
GALLERY = draw(COUNT, SIZE, rng=np.random.default_rng(6)).images
KEY = KeyStream(bytes(range(32)))
Doubles = np.ndarray


def of_filters(targets: np.ndarray, k: int) -> Doubles:
    """|Qᵀt|², Q by QR of the shifted copies in float64."""
    count = min(targets[0].size, max(random_filter.MIN_EQUATIONS, 2 * k * k))
    places = np.sort(np.random.default_rng(0).permutation(targets[0].size)[:count])
    wanted = targets.reshape(COUNT, -1)[:, places].astype(np.float64)
    copies = shifted(GALLERY, k, places).transpose(0, 2, 1) + 128.0
    return np.stack([np.square(wanted @ np.linalg.qr(one)[0]).sum(axis=1) for one in copies], axis=1)


def of_mixtures(targets: np.ndarray, k: int) -> Doubles:
    """Gaussian likelihoods, by LAPACK's inverses and determinants."""
    blocks, mixed = (to_blocks(images, k).astype(np.float64) for images in (GALLERY / 255, targets))
    covariances = blocks.swapaxes(2, 3) @ blocks / (k * k) + ROUNDING_NEAR_WHITE * np.eye(3)
    observed = mixed.swapaxes(2, 3) @ mixed
    volumes = k * k * np.linalg.slogdet(covariances)[1].sum(axis=1)
    return -(volumes + observed.reshape(COUNT, -1) @ np.linalg.inv(covariances).reshape(COUNT, -1).T) / 2


def of_noise(targets: np.ndarray, k: int, sigma: float, rounded: float) -> Doubles:
    """The distance after whitening, in float64."""
    row = kernel(k).sum(axis=0) if k > 1 else np.ones(1)
    places = np.abs(np.arange(-(k // 2), SIZE + k // 2))
    places = np.where(places < SIZE, places, 2 * (SIZE - 1) - places)  # reflected
    smooth = sum(weight * np.eye(SIZE)[places[i : i + SIZE]] for i, weight in enumerate(row))
    covariance = np.kron(smooth @ smooth.T, smooth @ smooth.T) * (sigma / (row**2).sum()) ** 2
    covariance += rounded * 255**2 * np.eye(SIZE**2)
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    t, g = (root @ images.reshape(COUNT, SIZE**2, 3).astype(np.float64) for images in (pixel_values(targets), GALLERY))
    return -np.stack([np.square(t - one).sum(axis=(1, 2)) for one in g], axis=1) / 2


def ranks(similarity: np.ndarray) -> list[int]:
    """Of the right candidates."""
    return (similarity > np.diagonal(similarity)[:, None]).sum(axis=1).tolist()


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize(
    ("name", "k", "sigma"),
    [
        ("random_filter", 3, 0.0),
        ("random_filter", 7, 0.0),
        ("random_filter", 15, 0.0),
        ("block_mix", 2, 0.0),
        ("block_mix", 8, 0.0),
        ("gaussian_noise", 1, 1500.0),
        ("correlated_noise", 3, 1500.0),
        ("correlated_noise", 5, 50.0),
    ],
)
def test_the_right_candidates_have_the_ranks_of_the_definition(name: str, k: int, sigma: float, scope: str) -> None:
    method = METHODS[name](SIZE, k, scope, sigma, KEY)
    targets = method.apply(GALLERY)
    alone = range(0, len(targets), 8)  # so few at a time that what they share is not looked at
    found = np.concatenate([method_similarity(targets[first : first + 8], GALLERY, method) for first in alone])
    if name == "random_filter":
        expected = of_filters(targets, k)
    else:
        rounded = ROUNDING_NEAR_WHITE + (method.step**2 / 12 if isinstance(method, GaussianNoise) else 0)
        expected = of_mixtures(targets, k) if name == "block_mix" else of_noise(targets, k, sigma, rounded)
        if name == "gaussian_noise":  # which leaves out what is the same for all
            expected *= 2 * (sigma**2 + rounded * 255**2)
    assert ranks(found) == ranks(expected)
    expected -= expected.max(axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()


def test_the_inverse_roots_make_copies_orthonormal() -> None:
    copies = shifted(GALLERY, 5, np.arange(0, SIZE * SIZE * 3, 2)).astype(np.float64) + 128
    made = inverse_roots(shifted(GALLERY, 5, np.arange(0, SIZE * SIZE * 3, 2))).astype(np.float64) @ copies
    assert np.abs(made @ made.swapaxes(1, 2) - np.eye(25)).max() < 5e-3


@pytest.mark.parametrize("level", [0, 128, 255])
def test_candidates_without_any_texture_have_finite_likelihoods(level: int) -> None:
    gallery = GALLERY.copy()
    gallery[3:6] = level
    for name in ("random_filter", "block_mix"):
        method = METHODS[name](SIZE, 2 if name == "block_mix" else 5, "image", 0.0, KEY)
        found = method_similarity(method.apply(GALLERY), gallery, method)
        assert np.isfinite(found).all() and found[np.arange(COUNT) != 4].argmax(axis=1)[0] == 0


def test_shifted_copies_are_those_of_a_loop() -> None:
    places = np.array([0, 5, 47, 300, SIZE * SIZE * 3 - 1])
    found = shifted(GALLERY[:3], 3, places)
    padded = np.pad(centred(GALLERY[:3]), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    for number, place in enumerate(places):
        pixel, colour = divmod(int(place), 3)
        y, x = divmod(pixel, SIZE)
        window = padded[:, y : y + 3, x : x + 3, colour]
        assert np.array_equal(found[:, :, number], window.reshape(3, 9))


def test_inverses_and_volumes_are_those_of_lapack() -> None:
    products = _products(GALLERY[:5], 4)
    size = 3
    whole = np.empty((5, 16, size, size))
    for (i, j), entries in products.items():
        whole[..., i, j] = whole[..., j, i] = entries
    whole += np.eye(size)
    inverses, volumes = _inverses({(i, j): whole[..., i, j] for i, j in products})
    for (i, j), entries in inverses.items():
        assert entries == pytest.approx(np.linalg.inv(whole)[..., i, j], rel=1e-5, abs=1e-9)
    assert volumes == pytest.approx(np.linalg.slogdet(whole)[1], rel=1e-9)
