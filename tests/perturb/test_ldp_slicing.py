"""LDP-Slicing against its formula, bit by bit, and the epsilons that its flips have."""

from dataclasses import replace

import numpy as np
import pytest

from privpipe.attacks.linkage import method_similarity
from privpipe.data.synthetic import draw
from privpipe.perturb import KeyStream
from privpipe.perturb.ldp_slicing import LdpSlicing, details, from_colours, to_colours
from privpipe.scores.guarantee import guarantee

KEY = KeyStream(bytes(range(32)))
IMAGES = draw(60, 16, rng=np.random.default_rng(0)).images


def details_by_hand(image: np.ndarray) -> np.ndarray:
    """A Haar transform of one level with its low band set to 0, by its filters, in Y, Cb and Cr."""
    pixels = image.astype(float)
    if image.shape[2] == 3:
        y = 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]
        pixels = np.stack([y, (pixels[..., 2] - y) / 1.772, (pixels[..., 0] - y) / 1.402], axis=-1)
    out = np.empty_like(pixels)
    for top in range(0, len(image), 2):
        for left in range(0, len(image), 2):
            a, b, c, d = (pixels[top + i, left + j] for i in (0, 1) for j in (0, 1))
            across, down, cross = (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2
            for i, j in np.ndindex(2, 2):
                out[top + i, left + j] = ((-1) ** j * across + (-1) ** i * down + (-1) ** (i + j) * cross) / 2
    return np.clip(np.floor(out + 128), 0, 255)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_low_band_is_taken_away(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, channels), np.uint8)
    expected = np.stack([details_by_hand(image) for image in images])
    difference = np.abs(details(images) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01  # coefficients are rounded to 2^-14
    assert (details(np.full((1, 8, 8, channels), 77, np.uint8)) == 128).all()


def test_colours_come_back_as_jpeg_has_them() -> None:
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    theirs = [np.asarray(Image.fromarray(one, "YCbCr").convert("RGB")) for one in values]
    assert np.abs(to_colours(values) - np.stack(theirs).astype(int)).max() <= 1


def test_the_way_back_from_colours_is_exact_where_nothing_was_cut() -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    colours = to_colours(values)
    whole = ((colours > 0) & (colours < 255)).all(axis=-1)
    assert whole.mean() > 0.2 and (from_colours(colours) != values).any()
    np.testing.assert_array_equal(from_colours(colours)[whole], values[whole])
    np.testing.assert_array_equal(from_colours(values[..., :2]), values[..., :2])


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("size", [7, 16])
def test_the_bits_that_the_key_names_are_flipped(size: int, scope: str) -> None:
    method = LdpSlicing(size, 1, scope, 0.0, KEY)
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), np.uint8)
    keys = method.image_keys(images) if scope == "image" else method.dataset_key
    np.testing.assert_array_equal(method.apply(images), to_colours(details(images) ^ keys))


@pytest.mark.parametrize(("epsilon", "channels"), [(20.0, 3), (1.0, 3), (8.0, 1)])
def test_each_bit_is_flipped_with_the_probability_of_its_epsilon(epsilon: float, channels: int) -> None:
    method = LdpSlicing(32, 1, "image", 0.0, KEY, epsilon=epsilon)
    weights = np.array([4, 1, 1] if channels == 3 else [1])[:, None] * 2.0 ** np.arange(8)
    epsilons = epsilon * np.sqrt(weights) / np.sqrt(weights).sum()
    expected = 1 / (np.exp(epsilons) + 1)
    np.testing.assert_allclose(method.thresholds(channels) / 4096, expected, atol=1 / 8192)
    keys = method.image_keys(np.random.default_rng(0).integers(0, 256, (40, 32, 32, channels), np.uint8))
    flipped = np.unpackbits(keys[..., None], axis=-1, bitorder="little").mean(axis=(0, 1, 2))
    np.testing.assert_allclose(flipped, expected, atol=0.012)
    assert method.chance_key_similarity(channels).pixels == pytest.approx(
        (expected**2 + (1 - expected) ** 2).mean(), abs=1e-3
    )


def test_bits_of_one_value_are_flipped_independently() -> None:
    keys = LdpSlicing(32, 1, "image", 0.0, KEY, epsilon=1.0).image_keys(np.zeros((40, 32, 32, 3), np.uint8))
    bits = np.unpackbits(keys.reshape(-1, 3), axis=1).astype(float)
    correlations = np.corrcoef(bits.T) - np.eye(24)
    assert np.abs(correlations).max() < 0.03


def test_the_epsilons_are_of_the_flips_that_are_made() -> None:
    promised = guarantee("ldp_slicing", 32, 3, 1, "image", 0.0, settings={"epsilon": 20.0})
    assert promised.epsilon_pixel == pytest.approx(4 * 20, rel=0.01)  # one pixel changes the details of four
    assert promised.epsilon_image == pytest.approx(32 * 32 * 20, rel=0.01)
    assert promised.delta == 0 and guarantee("ldp_slicing", 32, 3, 1, "dataset", 0.0).epsilon_pixel is None
    one = np.full((1, 8, 8, 3), 100, np.uint8)
    other = one.copy()
    other[0, 2, 2] = 200
    assert (details(one) != details(other)).any(axis=-1).sum() == 4


def test_keys_differ_by_key_and_setting() -> None:
    method = LdpSlicing(16, 1, "dataset", 0.0, KEY, epsilon=4.0)
    chance = method.chance_key_similarity(3).pixels
    others = [replace(method, stream=KeyStream(bytes([1, *range(1, 32)]))), replace(method, epsilon=4.001)]
    assert all(method.key_similarity(method.dataset_key, one.dataset_key).pixels < chance + 0.03 for one in others)
    assert method.key_similarity(method.dataset_key, method.dataset_key).pixels == 1


@pytest.mark.parametrize(("channels", "epsilon"), [(1, 0.5), (1, 20.0), (2, 8.0)])
def test_the_likelihood_is_the_probability_of_the_bits(
    channels: int, epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit; of images in other than three colours nothing is lost on the way."""
    images = IMAGES[:6, :8, :8, :channels].copy()
    method = LdpSlicing(8, 1, "image", 0.0, KEY, epsilon=epsilon)
    targets = method.apply(images[:3])
    expected = np.zeros((3, 6))
    for t, g, y, x, c, bit in np.ndindex(3, 6, 8, 8, channels, 8):
        flipped = method.thresholds(channels)[c, bit] / 4096
        differs = (targets[t, y, x, c] ^ details(images[g : g + 1])[0, y, x, c]) >> bit & 1
        expected[t, g] += np.log(flipped if differs else 1 - flipped)
    for compared in (1, 1 << 23):  # a value at a time, or all of them
        monkeypatch.setattr("privpipe.perturb.ldp_slicing.COMPARED", compared)
        found = method.log_likelihood(targets, images)
        difference = found - expected
        np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :1], difference.shape), atol=1e-3)


def test_the_likelihood_of_colours_tells_what_a_distance_does_not() -> None:
    images = draw(200, 32, rng=np.random.default_rng(0)).images
    method = LdpSlicing(32, 1, "image", 0.0, KEY, epsilon=2.0)
    targets = method.apply(images[:40])
    by_distance = np.square(targets[:, None].astype(float) - images[None]).sum(axis=(2, 3, 4)).argmin(axis=1)
    found = method_similarity(targets, images, method).argmax(axis=1)
    assert (found == np.arange(40)).mean() > 0.97 and (by_distance == np.arange(40)).mean() < 0.5


def test_the_likelihood_tells_whose_image_it_is_the_less_the_smaller_epsilon() -> None:
    found = []
    for epsilon in (40.0, 0.01):
        method = LdpSlicing(16, 1, "image", 0.0, KEY, epsilon=epsilon)
        found.append((method_similarity(method.apply(IMAGES), IMAGES, method).argmax(axis=1) == np.arange(60)).mean())
    assert found[0] > 0.95 and found[1] < 0.2
    with pytest.raises(Exception, match="can turn any image into any output"):
        LdpSlicing(16, 1, "image").orbit(IMAGES)
