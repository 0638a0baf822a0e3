"""What uploads of one random network share: their order of patches, their places, and whose they are."""

import cv2
import numpy as np
import pytest

from privpipe.perturb import KeyStream
from privpipe.perturb.neuracrypt import Neuracrypt
from privpipe.perturb.patch_order import (
    Expected,
    by_profiles,
    centred,
    in_order,
    likeness_of_places,
    linear_map,
    placed,
    products,
    profiles,
)

SIZE, K, PLACES = 24, 4, 36
SOME_ORDER = np.random.default_rng(3).permutation(PLACES)


def fields(count: int, seed: int = 0) -> np.ndarray:
    """Smooth noise, brighter above and with more contrast to the right, uint8 (count, SIZE, SIZE, 3)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, SIZE, SIZE, 3)) + rng.normal(size=(count, SIZE, SIZE, 1))
    smooth = np.stack([4 * cv2.GaussianBlur(n, (0, 0), 2.5) + cv2.GaussianBlur(n, (0, 0), 0.8) for n in noise])
    rows, columns = np.linspace(40, -40, SIZE)[:, None, None], np.linspace(0.4, 1.6, SIZE)[:, None]
    contrasts = np.exp(0.4 * rng.normal(size=(count, 1, 1, 1)))
    return np.clip(128 + rows + 40 * columns * smooth * contrasts, 0, 255).astype(np.uint8)


IMAGES = fields(260)
OWNER = Neuracrypt(SIZE, K, "dataset", 0.0, KeyStream(bytes(range(32))))
UPLOADS = OWNER.apply(IMAGES).reshape(len(IMAGES), PLACES, -1).astype(np.float32)
TRUTH = OWNER.in_place(IMAGES)


def places_of(ordered: np.ndarray, row: int) -> list[int]:
    """Which places the patches of an upload are of."""
    return list(np.abs(ordered[row][:, None] - TRUTH[row]).max(axis=2).argmin(axis=1))


@pytest.mark.parametrize("count", [40, 260])
def test_the_patches_of_all_uploads_get_one_order(count: int) -> None:
    ordered = in_order(UPLOADS[:count])
    first = places_of(ordered, 0)
    assert sorted(first) == list(range(PLACES)) and first != list(range(PLACES))
    assert all(places_of(ordered, row) == first for row in range(count))


def test_uploads_under_keys_of_their_own_have_no_common_order() -> None:
    uploads = Neuracrypt(SIZE, K, "image", 0.0, KeyStream(bytes(32))).apply(IMAGES[:60])
    ordered = in_order(uploads.reshape(60, PLACES, -1).astype(np.float32))
    total = np.square(ordered - ordered.mean(axis=(0, 1))).mean()
    assert np.square(centred(ordered)).mean() / total > 0.9
    shared = in_order(UPLOADS[:60])
    assert np.square(centred(shared)).mean() / np.square(shared - shared.mean(axis=(0, 1))).mean() < 0.5


def test_products_do_not_know_the_key() -> None:
    other = Neuracrypt(SIZE, K, "dataset", 0.0, KeyStream(bytes(32))).in_place(IMAGES)
    one, two = (products(centred(vectors)) for vectors in (TRUTH, other))
    np.testing.assert_allclose(one.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(one.std(axis=0), 1, atol=1e-3)
    same, another = (one * two).mean(), (one * np.roll(two, 1, axis=0)).mean()
    assert same > 0.15 and abs(another) < 0.02


def test_places_are_matched_up_to_what_turns_the_image() -> None:
    """With their own likeness as what is expected, the right answer is among those that are given."""
    vectors = centred(TRUTH)
    answers = placed(vectors[:, SOME_ORDER], likeness_of_places(vectors))
    assert any((SOME_ORDER[answer] == np.arange(PLACES)).all() for answer in answers)


def test_pairs_tell_the_places() -> None:
    expected = Expected([other.in_place(IMAGES[100:]) for other in OWNER.with_other_keys()])
    pairs = expected.profiles_of([other.in_place(IMAGES[:40]) for other in OWNER.with_other_keys()])
    answer = by_profiles(pairs, profiles(centred(TRUTH)[:40, SOME_ORDER]))
    assert (SOME_ORDER[answer] == np.arange(PLACES)).mean() > 0.9


def test_one_linear_map_makes_patches_of_vectors() -> None:
    patches = OWNER._patches(IMAGES).astype(np.float32)
    patches -= patches.mean(axis=0)
    vectors = centred(TRUTH)
    fitted = linear_map(vectors[:200], patches[:200])
    left = np.square(patches[200:] - vectors[200:] @ fitted).mean() / np.square(patches[200:]).mean()
    assert fitted.shape == (64, 48) and left < 0.6
    rows, wanted = vectors[:200].reshape(-1, 64).astype(float), patches[:200].reshape(-1, 48)
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    np.testing.assert_allclose(linear_map(vectors[:200], patches[:200], ridge=1e-9), expected, atol=0.05)
