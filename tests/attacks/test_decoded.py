"""What a key tells of a pixel with an error of its own is weighed by that error."""

from dataclasses import replace

import numpy as np
import pytest

from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.decoded import restore_decoded
from privpipe.attacks.known_plaintext import KnownPlaintext, solve
from privpipe.attacks.restoration import Prior, restore
from privpipe.data.synthetic import draw
from privpipe.perturb import KeyStream
from privpipe.perturb.ldp_slicing import LdpSlicing, details, told_exactly
from privpipe.scores import fidelity

SIZE = 16
KEY = KeyStream(bytes(range(32)))
IMAGES = draw(300, SIZE, rng=np.random.default_rng(0)).images
ORIGINALS, PUBLIC = IMAGES[:40], IMAGES[40:]


def slicing(scope: str = "dataset", size: int = SIZE, epsilon: float = 20.0) -> LdpSlicing:
    return LdpSlicing(size, 1, scope, 0.0, KEY, epsilon=epsilon)


def test_is_the_textbook_formula_with_an_error_for_each_pixel() -> None:
    """Under a prior of independent pixels, which a banded precision holds exactly."""
    rng, size = np.random.default_rng(0), 8
    colours = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    variances = np.array([900.0, 400.0, 400.0])
    prior = Prior(rng.uniform(80, 160, (size, size, 3)), colours, variances[:, None, None] * np.eye(64))
    matrix = slicing(size=size).operator(None)
    images = np.clip(prior.mean + rng.normal(0, 15, (2, size, size, 3)), 0, 255)
    errors = rng.uniform(0.5, 40, (2, size, size))
    told = np.stack([(matrix @ image.reshape(64, 3)).reshape(size, size, 3) for image in images])
    told += errors[..., None] * rng.standard_normal(told.shape)
    joint = np.kron(np.eye(64), colours.T @ np.diag(variances) @ colours)
    whole = np.kron(matrix.toarray(), np.eye(3))
    found = restore_decoded(told.astype(np.float32), errors.astype(np.float32), matrix, prior)
    for one, seen, error in zip(found, told, errors, strict=True):
        noise = np.diag(np.repeat(error.ravel() ** 2, 3))
        left = seen.ravel() - whole @ prior.mean.ravel()
        expected = prior.mean.ravel() + joint @ whole.T @ np.linalg.solve(whole @ joint @ whole.T + noise, left)
        np.testing.assert_allclose(one.ravel(), expected.clip(0, 255), atol=0.01)


@pytest.mark.parametrize("size", [7, 16])
def test_the_operator_takes_the_means_away(size: int) -> None:
    images = np.random.default_rng(0).integers(60, 180, (3, size, size, 1), np.uint8)  # too grey to be cut
    left = np.stack([slicing(size=size).operator(None) @ image.ravel().astype(float) for image in images])
    np.testing.assert_array_equal(details(images).reshape(3, -1), np.floor(left + 128))


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_the_key_tells_details_of_pixels_that_were_not_cut(scope: str) -> None:
    method = slicing(scope)
    perturbed = method.apply(ORIGINALS)
    told, errors = method.decoded(perturbed, method.dataset_key if scope == "dataset" else method.image_keys(ORIGINALS))
    truth = np.stack(
        [(method.operator(None) @ one.reshape(-1, 3).astype(float)).reshape(one.shape) for one in ORIGINALS]
    )
    exact = told_exactly(perturbed)
    assert 0.4 < exact.mean() < 0.7
    np.testing.assert_array_equal(errors, np.where(exact, 0.5, 100).astype(np.float32))
    assert 0.3 < (told - truth)[exact].std() < 0.6 and abs((told - truth)[exact].mean()) < 0.05
    assert 50 < (told - truth)[~exact].std() < 110


@pytest.mark.parametrize("size", [16, 33, 48])
@pytest.mark.parametrize("channels", [1, 3])
def test_with_the_key_images_come_back(size: int, channels: int) -> None:
    images = draw(100, -(-size // 8) * 8, rng=np.random.default_rng(1)).images[:, :size, :size, :channels].copy()
    originals, method = images[:10], slicing("image", size)
    perturbed, prior = method.apply(originals), Prior.known(images[10:], method, channels)
    found = restore(perturbed, method, method.image_keys(originals), prior)
    similarity, as_is = (fidelity.ssim(originals, one).mean() for one in (found, perturbed))
    assert similarity > max(0.6, as_is + 0.3)


@pytest.mark.parametrize("epsilon", [20.0, 2.0])
def test_known_pairs_give_the_flips(epsilon: float) -> None:
    method = slicing(epsilon=epsilon)
    perturbed, key = method.apply(ORIGINALS), method.dataset_key
    solved = solve(Pairs(ORIGINALS, perturbed), method)
    told = told_exactly(perturbed).sum(axis=0)
    assert solved.key.shape == key.shape and solved.key.dtype == np.uint8
    np.testing.assert_array_equal(solved.key[told > 0], key[told > 0])
    assert solved.confidence == pytest.approx((told > 1).mean(), abs=1e-9)
    assert method.key_similarity(solved.key, key).pixels > method.chance_key_similarity(3).pixels + 0.2
    own = solve(Pairs(ORIGINALS, replace(method, scope="image").apply(ORIGINALS)), method)
    assert own.confidence < 0.01 and solve(Pairs(ORIGINALS[:1], perturbed[:1]), method).confidence == 0


def test_known_pairs_restore_nearly_as_well_as_the_key() -> None:
    method = slicing()
    perturbed = method.apply(IMAGES)
    targets, prior = perturbed[100:120], Prior.of(IMAGES[120:])
    pairs = Pairs(ORIGINALS, perturbed[:40])
    held = AdversaryView("ldp_slicing", 1, "dataset", 0.0, perturbed, targets, IMAGES[120:], pairs, method.settings)
    restored = KnownPlaintext().run(held).images, restore(targets, method, method.dataset_key, prior)
    with_pairs, with_key = (fidelity.ssim(IMAGES[100:120], one).mean() for one in restored)
    assert 0.6 < with_key - 0.05 < with_pairs < with_key + 0.01
