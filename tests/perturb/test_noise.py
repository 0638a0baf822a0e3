"""Gaussian noise against its formula and its statistics."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from samples import KEY, method, sample_images

from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb.correlated_noise import smooth
from privpipe.perturb.gaussian_blur import blur_sigma
from privpipe.perturb.keystream import NOISE_END, Copies, noise

NOISES = ["gaussian_noise", "correlated_noise"]
SIZE, SIGMA = 32, 25.0


def blur_kernel(k: int) -> NDArray[np.float64]:
    """exp(-r^2 / 2 s^2), normalised, with the standard deviation that belongs to k, (k, k)."""
    x = np.arange(k) - k // 2
    weights = np.exp(-(x[:, None] ** 2 + x**2) / (2 * (0.3 * ((k - 1) / 2 - 1) + 0.8) ** 2))
    return weights / weights.sum()


def expected_field(name: str, k: int, image: NDArray[np.uint8] | None = None, channels: int = 3) -> NDArray[np.float64]:
    """The noise in levels, (SIZE, SIZE, channels): that of an image, or of all images for None."""
    settings = ("image_size", SIZE, *(() if name == "gaussian_noise" else ("k", k)), "sigma", SIGMA.hex())
    stream, size = KEY.child(name, *settings, "scope"), 4 * SIZE * SIZE * channels
    if image is None:
        drawn = stream.child("dataset").shared(size)
    else:
        drawn = stream.child("image").own(image.shape, size, Copies()).draw(image[None])
    white = noise(drawn, 1.0).reshape(SIZE, SIZE, channels).astype(float)
    if name == "gaussian_noise":
        return SIGMA * white
    weights, radius = blur_kernel(k), k // 2
    padded = np.pad(white, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    smooth = sum(weights[i, j] * padded[i : i + SIZE, j : j + SIZE] for i, j in np.ndindex(k, k))
    return SIGMA * smooth / np.sqrt((weights**2).sum())


def fields(name: str, k: int, count: int = 100) -> NDArray[np.float64]:
    """The noise of many images in levels, without the borders, (count, h, w, 3)."""
    grey = np.full((count, SIZE, SIZE, 3), 128, np.uint8)
    drawn = method(name, SIZE, k, "image", sigma=SIGMA).apply(grey).astype(float) * 255 - 128
    return drawn[:, k:-k, k:-k]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize(("name", "k"), [("gaussian_noise", 1), *(("correlated_noise", k) for k in (1, 3, 7))])
def test_image_plus_field_in_float16(name: str, k: int, scope: str, channels: int) -> None:
    images = sample_images(3, SIZE, channels)
    out = method(name, SIZE, k, scope, sigma=SIGMA).apply(images)
    for i, image in enumerate(images):
        expected = (image + expected_field(name, k, image if scope == "image" else None, channels)) / 255
        np.testing.assert_allclose(out[i].astype(float), expected, rtol=2**-11, atol=2**-13 + 1e-6)


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("name", NOISES)
def test_the_key_and_the_image_in_this_order_of_float32_operations(
    name: str, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, perturbation = sample_images(4, SIZE), method(name, SIZE, 5, scope, sigma=SIGMA)
    key = perturbation.dataset_key if scope == "dataset" else perturbation.image_keys(images)
    assert key is not None and key.dtype == np.float32
    # The key in the units in which it is added.
    monkeypatch.setattr("privpipe.perturb.gaussian_noise.WHITE", np.float32(1))
    added = perturbation.dataset_key if scope == "dataset" else perturbation.image_keys(images)
    monkeypatch.undo()
    np.testing.assert_array_equal(key, added * np.float32(255))
    noisy = images.astype(np.float32) * np.float32(1 / 255) + added
    expected = (np.rint(noisy * 2**12) / 2**12).astype(np.float16)
    np.testing.assert_array_equal(perturbation.apply(images), expected)
    back = expected.astype(np.float32) * np.float32(255) - key
    np.testing.assert_array_equal(perturbation.invert(expected, key), back)


@pytest.mark.parametrize("name", NOISES)
def test_values_are_on_one_grid_whatever_the_image_is(name: str) -> None:
    """Else a value near 0 would have digits that only a dark pixel leaves."""
    for level in (0, 1, 200, 255):
        out = method(name, SIZE, 3, "image", sigma=100.0).apply(np.full((40, SIZE, SIZE, 3), level, np.uint8))
        steps = out.astype(np.float64) * 2**12
        np.testing.assert_array_equal(steps, np.rint(steps))
        assert (np.abs(out) < 2**-4).mean() > 0.001  # where float16 has finer steps


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("k", [1, 3, 5, 9])
def test_smoothing_is_opencvs_filter(k: int, channels: int) -> None:
    values = np.random.default_rng(0).normal(size=(5, 9, 9, channels)).astype(np.float32)
    weights = cv2.getGaussianKernel(k, blur_sigma(k), cv2.CV_32F)
    for before, after in zip(values, smooth(values, weights.ravel()), strict=True):
        expected = cv2.sepFilter2D(before, cv2.CV_32F, weights, weights).reshape(before.shape)
        np.testing.assert_allclose(after, expected, atol=1e-6)


@pytest.mark.parametrize("name", NOISES)
def test_the_dataset_key_is_what_is_added_to_all(name: str) -> None:
    perturbation = method(name, SIZE, 3, sigma=SIGMA)
    np.testing.assert_allclose(perturbation.dataset_key, expected_field(name, 3), rtol=1e-5, atol=1e-5)


def test_gaussian_noise_does_not_depend_on_k() -> None:
    images = sample_images(2, SIZE)
    np.testing.assert_array_equal(
        method("gaussian_noise", SIZE, 4).apply(images), method("gaussian_noise", SIZE, 7).apply(images)
    )


def test_correlated_noise_of_another_k_comes_from_other_random_numbers() -> None:
    one, three = (method("correlated_noise", SIZE, k).dataset_key for k in (1, 3))
    weights = blur_kernel(3)
    padded = np.pad(one, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    smoothed = sum(weights[i, j] * padded[i : i + SIZE, j : j + SIZE] for i, j in np.ndindex(3, 3))
    assert abs(np.corrcoef(smoothed.ravel(), three.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize(("name", "k"), [("gaussian_noise", 1), ("correlated_noise", 3), ("correlated_noise", 7)])
def test_the_standard_deviation_is_sigma(name: str, k: int) -> None:
    drawn = fields(name, k)
    assert drawn.std() == pytest.approx(SIGMA, rel=0.02)
    assert abs(drawn.mean()) < 0.03 * SIGMA


@pytest.mark.parametrize("k", [3, 5, 7])
def test_neighbours_correlate_as_the_kernel_with_itself_shifted(k: int) -> None:
    drawn, weights = fields("correlated_noise", k), blur_kernel(k)
    for shift in (1, 2):
        expected = (weights[shift:] * weights[:-shift]).sum() / (weights**2).sum()
        for one, two in [(drawn[:, shift:], drawn[:, :-shift]), (drawn[:, :, shift:], drawn[:, :, :-shift])]:
            assert np.corrcoef(one.ravel(), two.ravel())[0, 1] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", NOISES)
def test_colours_and_images_are_independent(name: str) -> None:
    drawn = fields(name, 3)
    pairs = [(drawn[..., 0], drawn[..., 1]), (drawn[..., 1], drawn[..., 2]), (drawn[1:], drawn[:-1])]
    assert all(abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.02 for one, two in pairs)


def test_neighbours_of_independent_noise_do_not_correlate() -> None:
    drawn = fields("gaussian_noise", 1)
    assert abs(np.corrcoef(drawn[:, 1:].ravel(), drawn[:, :-1].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("name", NOISES)
def test_the_dataset_key_subtracts_out_of_two_images(name: str) -> None:
    images = sample_images(2, SIZE)
    one, two = method(name, SIZE, 3, sigma=SIGMA).apply(images).astype(float) * 255
    np.testing.assert_allclose(one - two, images[0].astype(float) - images[1], rtol=0, atol=2 * 255 * 2**-11 + 1e-3)


@pytest.mark.parametrize("name", NOISES)
def test_noise_goes_beyond_black_and_white(name: str) -> None:
    images = np.stack([np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE, 3), 255, np.uint8)])
    black, white = method(name, SIZE, 3, sigma=SIGMA).apply(images)
    assert 0.4 < np.mean(black < 0) < 0.6
    assert 0.4 < np.mean(white > 1) < 0.6


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("name", NOISES)
def test_noise_that_float16_cannot_hold_is_refused(name: str, scope: str) -> None:
    message = rf"^{name} gave values that float16 cannot hold \(over 65504\)\. Use a smaller perturb\.k or sigma\.$"
    with pytest.raises(PrivpipeError, match=message):
        method(name, SIZE, 3, scope, sigma=1e8).apply(sample_images(2, SIZE))


@pytest.mark.parametrize("name", NOISES)
def test_noise_under_the_bound_is_not_looked_at_and_never_overflows(name: str) -> None:
    # The largest values that there are, not those of one key: the bound that spares the check must hold for them.
    perturbation = method(name, SIZE, 3, "image", sigma=1.0)
    ends = perturbation._fields(np.full((1, 4 * SIZE * SIZE * 3), 255, np.uint8), 3) * np.float32(255)
    assert np.abs(ends).max() <= NOISE_END * perturbation._gain


@pytest.mark.parametrize("name", NOISES)
def test_two_strengths_under_one_key_subtract_to_nothing(name: str) -> None:
    images = draw(100, SIZE, rng=np.random.default_rng(0)).images
    at = {sigma: method(name, SIZE, 3, "image", sigma=sigma).apply(images).astype(float) * 255 for sigma in (100, 200)}
    left = (2 * at[100] - at[200] - images)[:, 3:-3, 3:-3]
    assert left.std() == pytest.approx(200 * 2**0.5, rel=0.02)  # as of independent noise; 0.1 if one is twice the other


@pytest.mark.parametrize("name", NOISES)
def test_rows_of_a_grown_set_keep_their_noise(name: str) -> None:
    images, perturbation = (
        draw(101, SIZE, rng=np.random.default_rng(0)).images,
        method(name, SIZE, 3, "image", sigma=200),
    )
    first, grown = (perturbation.apply(part).astype(float) * 255 for part in (images[1:], images))
    left = (grown[:-1] - first) - (images[:-1].astype(float) - images[1:])
    assert left[:, 3:-3, 3:-3].std() == pytest.approx(200 * 2**0.5, rel=0.02)
    np.testing.assert_array_equal(grown[1:], first)
