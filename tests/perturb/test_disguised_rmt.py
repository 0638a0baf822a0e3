"""DisguisedNets' RMT against its formula, block by block, and what it says of itself."""

import math
from dataclasses import replace

import numpy as np
import pytest

from privpipe.attacks.linkage import method_similarity
from privpipe.data.synthetic import draw
from privpipe.perturb import KeyStream
from privpipe.perturb.disguised_rmt import DisguisedRmt, orthogonal
from privpipe.perturb.keystream import Copies, half_quantiles

KEY = KeyStream(bytes(range(32)))
IMAGES = draw(40, 16, rng=np.random.default_rng(0)).images


def by_hand(image: np.ndarray, key: np.ndarray, k: int) -> np.ndarray:
    """Block b is block p[b] times R[b], one block and colour at a time: exact sums, made float32, then float16."""
    out, side = np.empty(image.shape, np.float16), len(image) // k
    for b, (source, *numbers) in enumerate(key.tolist()):
        (top, left), (y, x) = divmod(b, side), divmod(int(source), side)
        matrix = np.array(numbers).reshape(k, k)
        for c in range(image.shape[2]):
            block = image[y * k : y * k + k, x * k : x * k + k, c]
            turned = (block @ matrix).astype(np.float32) * np.float32(1 / 255)
            out[top * k : top * k + k, left * k : left * k + k, c] = turned
    return out


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("k", [1, 2, 4, 8, 16])
def test_each_block_is_moved_and_turned(k: int, scope: str) -> None:
    method = DisguisedRmt(16, k, scope, 0.0, KEY)
    keys = method.image_keys(IMAGES[:5]) if scope == "image" else [method.dataset_key] * 5
    expected = np.stack([by_hand(image, key, k) for image, key in zip(IMAGES[:5], keys, strict=True)])
    perturbed = method.apply(IMAGES[:5])
    np.testing.assert_array_equal(perturbed, expected)
    back = method.invert(perturbed, method.dataset_key if scope == "dataset" else np.asarray(keys))
    assert np.abs(back - IMAGES[:5]).max() < 0.5


@pytest.mark.parametrize("k", [1, 2, 8, 16])
def test_the_key_is_a_permutation_and_orthogonal_matrices(k: int) -> None:
    key = DisguisedRmt(16, k, "dataset", 0.0, KEY).dataset_key
    assert key.shape == DisguisedRmt(16, k).key_form(3) and sorted(key[:, 0]) == list(range(len(key)))
    matrices = key[:, 1:].reshape(-1, k, k).astype(float)
    identity = np.broadcast_to(np.eye(k), matrices.shape)
    np.testing.assert_allclose(matrices @ matrices.swapaxes(1, 2), identity, atol=2e-3)
    assert ((np.linalg.det(matrices) > 0).any() and (np.linalg.det(matrices) < 0).any()) or len(matrices) < 4


@pytest.mark.parametrize("k", [2, 4, 8])
def test_matrices_are_those_of_gram_and_schmidt_a_number_at_a_time(k: int) -> None:
    method = DisguisedRmt(16, k, "image", 0.0, KEY)
    stream = method.own_streams(IMAGES[:3], 256 // k**2 * 8 + 512, None).draw(IMAGES[:3])
    numbers = half_quantiles(1.0)[stream[:, -512:].copy().view("<u2")].reshape(-1, k, k)
    for vectors, found in zip(numbers.tolist(), method.image_keys(IMAGES[:3])[..., 1:].reshape(-1, k, k), strict=True):
        done: list[list[float]] = []
        for i, vector in enumerate(vectors):
            vector[i] += 2**-20
            for other in done:
                along = sum(a * b for a, b in zip(vector, other, strict=True))
                vector = [a - along * b for a, b in zip(vector, other, strict=True)]
            length = math.sqrt(sum(a * a for a in vector))
            done.append([a / length for a in vector])
        np.testing.assert_array_equal(found, np.rint(np.array(done) * 2**15 / k) * k / 2**15)


def test_matrices_are_uniform_among_the_orthogonal_ones() -> None:
    """Their entries have variance 1/k, and the first column of 3×3 ones is uniform on a sphere: uniform coordinates."""
    vectors = np.random.default_rng(0).normal(size=(3, 3, 20_000))
    matrices = orthogonal(vectors)
    np.testing.assert_allclose(np.einsum("ijn,ljn->iln", matrices, matrices)[:, :, 0], np.eye(3), atol=1e-12)
    heights, _ = np.histogram(matrices[2, 0], bins=8, range=(-1, 1))
    np.testing.assert_allclose(heights / 20_000, 1 / 8, atol=0.012)


def test_noise_is_whole_uniform_and_fresh_for_each_image_in_both_scopes() -> None:
    blank = np.full((30, 16, 16, 3), 100, np.uint8)
    for scope in ("dataset", "image"):
        method = DisguisedRmt(16, 4, scope, 0.0, KEY, noise=20)
        keys = method.dataset_key if scope == "dataset" else method.image_keys(blank)
        added = method.invert(method.apply(blank), keys) - 100 + 10
        assert added.min() > -0.6 and added.max() < 20.6
        assert added.mean() == pytest.approx(10, abs=0.2) and added.var() == pytest.approx((21**2 - 1) / 12, rel=0.05)
        assert abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]) < 0.12


@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_noise_of_equal_images_counts_them_over_chunks(scope: str) -> None:
    method, same = DisguisedRmt(16, 4, scope, 0.0, KEY, noise=9), np.repeat(IMAGES[:1], 4, axis=0)
    copies, whole = Copies(), method.apply(same)
    method.skip(same[:2], copies)
    np.testing.assert_array_equal(method.apply(same[2:], copies), whole[2:])
    assert len({image.tobytes() for image in whole}) == 4


def test_another_key_or_noise_is_another_output_and_one_bit_of_the_key_is_enough() -> None:
    method = DisguisedRmt(16, 4, "dataset", 0.0, KEY)
    other = replace(method, stream=KeyStream(bytes([1, *range(1, 32)])))
    similar = method.key_similarity(method.dataset_key, other.dataset_key).pixels
    assert similar < 0.25 and method.key_similarity(method.dataset_key, method.dataset_key).pixels == pytest.approx(1)
    assert (replace(method, noise=1).dataset_key != method.dataset_key).any()


def test_chance_is_what_other_keys_score() -> None:
    method = DisguisedRmt(8, 2, "dataset", 0.0, KEY)
    keys = [replace(method, stream=KEY.child(i)).dataset_key for i in range(400)]
    scored = [method.key_similarity(one, two).pixels for one, two in zip(keys[::2], keys[1::2], strict=True)]
    assert np.mean(scored) == pytest.approx(method.chance_key_similarity(3).pixels, abs=0.01)


@pytest.mark.parametrize("noise", [0, 20])
@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_products_of_rows_tell_whose_image_it_is(scope: str, noise: float) -> None:
    method = DisguisedRmt(16, 4, scope, 0.0, KEY, noise=noise)
    found = method_similarity(method.apply(IMAGES), IMAGES, method).argmax(axis=1)
    assert (found == np.arange(len(IMAGES))).mean() > 0.95


def test_an_adversary_reckons_with_what_noise_adds_to_products() -> None:
    images = draw(400, 16, rng=np.random.default_rng(0)).images
    method = DisguisedRmt(16, 2, "image", 0.0, KEY, noise=255)
    likeliest = method_similarity(method.apply(images[:100]), images, method).argmax(axis=1)
    assert (likeliest == np.arange(100)).mean() > 0.3
