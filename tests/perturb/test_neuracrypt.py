"""NeuraCrypt against its formula, patch by patch, and what no key changes of an upload."""

import numpy as np
import pytest

from privpipe.attacks.linkage import method_similarity
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import Copies, KeyStream
from privpipe.perturb.neuracrypt import MOST, REFERENCE, STEPS, Neuracrypt, reference, weight_limit

KEY, OTHER_KEY = KeyStream(bytes(range(32))), KeyStream(bytes(range(1, 33)))
SIZE, K = 16, 4
IMAGES = draw(40, SIZE, rng=np.random.default_rng(0)).images


def neuracrypt(scope: str = "dataset", key: KeyStream = KEY, **settings: float) -> Neuracrypt:
    return Neuracrypt(SIZE, K, scope, 0.0, key, **settings)


def by_hand(patches: np.ndarray, key: np.ndarray, width: int, depth: int) -> np.ndarray:
    """All places of one image, (places, k·k·C), with whole numbers in float64, layer by layer."""
    inputs, numbers = patches.shape[1], iter(np.split(key.astype(np.float64), np.cumsum(sizes(patches, width, depth))))

    def steps(values: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(values), 0, MOST)

    def first(rows: np.ndarray) -> np.ndarray:
        sums = (rows.astype(np.float64) - 128) @ weights / (weight_limit(inputs, 128) * np.sqrt(inputs))
        return steps(sums + STEPS * biases / (2**14 - 1) / np.sqrt(inputs))

    weights, biases = next(numbers).reshape(inputs, width), next(numbers)
    hidden, frozen = first(patches), first(reference(K, inputs // K**2))
    for _ in range(depth):
        weights = next(numbers).reshape(width, width)
        seen, sums = frozen @ weights, hidden @ weights
        mean = np.rint(seen.mean(axis=0))
        spread = np.sqrt(np.maximum(np.square(seen - mean).mean(axis=0), 1)) / STEPS
        hidden, frozen = steps((sums - mean) / spread), steps((seen - mean) / spread)
    places = next(numbers).reshape(len(patches), width)
    weights, biases = next(numbers).reshape(width, width), next(numbers)
    limit = weight_limit(width, MOST + 278)
    return np.maximum(hidden + places, 0) @ weights / (STEPS * limit * np.sqrt(width)) + biases / (
        (2**14 - 1) * np.sqrt(width)
    )


def sizes(patches: np.ndarray, width: int, depth: int) -> list[int]:
    places, inputs = patches.shape
    return [inputs * width, width, *[width * width] * depth, places * width, width * width]


def cut(image: np.ndarray) -> np.ndarray:
    corners = [(y, x) for y in range(0, SIZE, K) for x in range(0, SIZE, K)]
    return np.array([image[y : y + K, x : x + K].ravel() for y, x in corners])


@pytest.mark.parametrize(("width", "depth"), [(64, 4), (10, 0), (33, 2)])
@pytest.mark.parametrize("scope", ["dataset", "image"])
def test_each_patch_goes_through_the_network_and_then_to_another_place(scope: str, width: int, depth: int) -> None:
    method = neuracrypt(scope, width=width, depth=depth)
    uploads = method.apply(IMAGES[:4])
    keys = [method.dataset_key] * 4 if scope == "dataset" else method.image_keys(IMAGES[:4])
    assert uploads.shape == (4, 4, 4, width) == (4, *method.output_shape(3)) and uploads.dtype == np.float16
    orders = []
    for upload, image, key in zip(uploads.reshape(4, 16, width).astype(np.float64), IMAGES, keys, strict=False):
        assert key.shape == method.key_form(3) and key.dtype == np.int16
        expected = by_hand(cut(image), key, width, depth)
        # A value half-way between two steps may be rounded otherwise in float32: a step of a few layers' inputs.
        distances = np.abs(upload[:, None] - expected).max(axis=2)
        orders.append(tuple(distances.argmin(axis=1)))
        assert sorted(orders[-1]) == list(range(16)) and np.median(distances.min(axis=1)) < 2e-3
        assert distances.min(axis=1).max() < 0.05
    assert len(set(orders)) == 4


def test_an_upload_does_not_depend_on_its_company() -> None:
    """Their own normalisation takes its statistics of the batch."""
    method = neuracrypt()
    alone = np.concatenate([method.apply(image[None]) for image in IMAGES[:5]])
    np.testing.assert_array_equal(method.apply(IMAGES)[:5], alone)


@pytest.mark.parametrize(("inputs", "most"), [(48, 128), (64, 255), (64, 533), (768, 128), (4096, 533), (1, 128)])
def test_sums_of_layers_are_exact_in_float32(inputs: int, most: int) -> None:
    limit = weight_limit(inputs, most)
    assert (limit >= 1 and inputs * most * limit < 2**24) or inputs * most >= 2**23


def test_the_public_patches_are_of_all_levels_and_the_same_everywhere() -> None:
    patches = reference(4, 3)
    assert patches.shape == (REFERENCE, 48) and patches.dtype == np.uint8
    assert 100 < patches.mean() < 156 and patches.std() > 50
    assert np.corrcoef(patches[:, 0], patches[:, 3])[0, 1] > 0.5


def test_equal_images_have_their_patches_elsewhere_and_are_counted_over_chunks() -> None:
    same = np.repeat(IMAGES[:1], 4, axis=0)
    for scope in ("dataset", "image"):
        method, copies = neuracrypt(scope), Copies()
        whole = method.apply(same)
        method.skip(same[:2], copies)
        np.testing.assert_array_equal(method.apply(same[2:], copies), whole[2:])
        assert len({upload.tobytes() for upload in whole}) == 4


def test_the_spectrum_depends_on_no_order_and_tells_something_of_the_image() -> None:
    method = neuracrypt("image")
    uploads = method.apply(IMAGES)
    turned = uploads[:, ::-1, ::-1]
    np.testing.assert_allclose(method.spectrum(turned), method.spectrum(uploads), atol=1e-6)
    similarity = method_similarity(uploads, IMAGES, method)
    better = (similarity > np.diagonal(similarity)[:, None]).sum(axis=1)
    assert better.mean() < 17  # of 39; by chance 19.5


def test_other_shapes_are_refused_where_images_are_asked_for() -> None:
    method = neuracrypt()
    with pytest.raises(PrivpipeError, match=r"^the gallery must be uint8 images"):
        method_similarity(method.apply(IMAGES)[:, :2], IMAGES, method)
    with pytest.raises(PrivpipeError, match=r"^neuracrypt is not undone by its key"):
        method.invert(method.apply(IMAGES))
