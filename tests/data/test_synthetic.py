"""The drawn data set: its form, its determinism, and that it has the statistics of photographs."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.data import synthetic
from privpipe.data.images import RawImages
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def sample_images(count: int, size: int = 32, seed: int = 0) -> RawImages:
    return draw(count, size, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def thousand() -> RawImages:
    return sample_images(1000)


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("size", [8, 32, 64, 256])
def test_form(size: int) -> None:
    drawn = sample_images(23, size)
    assert drawn.images.shape == (23, size, size, 3)
    assert drawn.images.dtype == np.uint8
    assert drawn.labels.shape == (23,)
    assert drawn.labels.dtype == np.int64
    counts = np.bincount(drawn.labels, minlength=10)
    assert counts.min() == 2 and counts.max() == 3


def test_classes(thousand: RawImages) -> None:
    assert len(set(thousand.class_names)) == 10
    assert all(name.isidentifier() for name in thousand.class_names)
    assert np.bincount(thousand.labels).tolist() == [100] * 10
    assert not np.array_equal(thousand.labels, np.arange(1000) % 10), "the labels are not shuffled"


def test_one_image_is_enough() -> None:
    assert sample_images(1).images.shape == (1, 32, 32, 3)


def test_the_seed_decides_every_byte() -> None:
    first, again, other = sample_images(40), sample_images(40), sample_images(40, seed=1)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.images, other.images)
    assert not np.array_equal(first.labels, other.labels)


def test_the_generator_moves_on() -> None:
    rng = np.random.default_rng(0)
    train, val = draw(40, rng=rng), draw(40, rng=rng)
    assert not np.array_equal(train.images, val.images)


@pytest.mark.parametrize("pixels", [1, 7 * 32 * 32])
def test_the_chunk_size_does_not_matter(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sample_images(40)
    monkeypatch.setattr(synthetic, "CHUNK_PIXELS", pixels)
    assert np.array_equal(sample_images(40).images, whole.images)


def test_neighbouring_pixels_agree(thousand: RawImages) -> None:
    luma = thousand.images @ LUMA
    assert 0.9 < correlation(luma[:, :, 1:], luma[:, :, :-1]) < 0.98
    assert 0.9 < correlation(luma[:, 1:], luma[:, :-1]) < 0.98


def test_opposite_borders_do_not_agree(thousand: RawImages) -> None:
    """A field made by FFT wraps around unless it is cut; a jigsaw attack would profit from that."""
    luma = thousand.images @ LUMA
    luma -= luma.mean(axis=(1, 2), keepdims=True)
    assert correlation(luma[:, :, 0], luma[:, :, -1]) < 0.2


@pytest.mark.parametrize("size", [32, 64])
def test_the_power_spectrum_falls_as_in_photographs(size: int) -> None:
    luma = sample_images(300, size).images @ LUMA
    luma -= luma.mean(axis=(1, 2), keepdims=True)
    window = np.hanning(size)  # keeps the image's borders from adding a cross of high frequencies
    power = (np.abs(np.fft.fft2(luma * window[:, None] * window)) ** 2).mean(axis=0)
    cycles = np.fft.fftfreq(size, 1 / size)
    ring = np.rint(np.hypot(cycles[:, None], cycles[None, :])).astype(int)
    rings = np.arange(2, size * 3 // 8)
    radial = [power[ring == r].mean() for r in rings]
    slope = np.polyfit(np.log(rings), np.log(radial), 1)[0]
    assert -3.5 < slope < -2.0


def test_colours_vary_along_the_axes_of_photographs(thousand: RawImages) -> None:
    rgb = thousand.images.reshape(-1, 3) / 255.0
    variances, axes = np.linalg.eigh(np.cov(rgb.T))  # ascending
    luminance, blue_yellow, red_green = axes[:, 2], axes[:, 1], axes[:, 0]
    assert variances[2] > 5 * variances[1] and variances[1] > 2 * variances[0]
    assert abs(luminance @ np.ones(3)) / np.sqrt(3) > 0.98
    assert abs(blue_yellow @ [1, 1, -2]) / np.sqrt(6) > 0.95
    assert abs(red_green @ [1, -1, 0]) / np.sqrt(2) > 0.95
    assert np.corrcoef(rgb.T)[np.triu_indices(3, 1)].min() > 0.8


def test_levels_are_spread_and_seldom_clipped(thousand: RawImages) -> None:
    images = thousand.images
    assert np.mean((images == 0) | (images == 255)) < 0.02
    assert 110 < images.mean() < 145
    assert 35 < images.std() < 70


def test_brightness_and_colour_say_nothing_about_the_class() -> None:
    drawn = sample_images(4000)
    means = drawn.images.mean(axis=(1, 2))
    spread = np.stack([means[drawn.labels == c].mean(axis=0) for c in range(10)]).std(axis=0)
    # Ten means of 400 images each differ by chance alone by std / 20.
    assert np.all(spread < 2 * means.std(axis=0) / 20)


def test_outlines_lie_where_geometry_says() -> None:
    """Areas of the shapes in shape coordinates, against the textbook formulas."""
    axis = (np.arange(1000, dtype=np.float32) - np.float32(499.5)) / np.float32(400)
    u, v = np.meshgrid(axis, axis)
    areas: dict[str, float] = {
        "disc": np.pi * 0.85**2,
        "ring": np.pi * (0.94**2 - 0.5**2),
        "square": 1.5**2,
        "triangle": 3 * np.sqrt(3) * 0.55**2,
        "cross": 2 * 1.9 * 0.56 - 0.56**2,
        # Ten triangles between the centre, a point at radius r/cos(72 deg) and a dent at r/cos(36 deg).
        "star": 5 * 0.36**2 * np.sin(np.pi / 5) / np.cos(2 * np.pi / 5) / np.cos(np.pi / 5),
        "bars": 3 * 1.8 * 0.4,
        "dots": 3 * np.pi * 0.38**2,
    }
    for name, area in areas.items():
        outline: Callable[..., NDArray[np.float32]] = synthetic.CLASSES[name][0]
        assert np.mean(outline(u, v) < 0) * 2.5**2 == pytest.approx(area, rel=0.01), name


@pytest.mark.parametrize("size", [0, -8, 30, 264])
def test_bad_size(size: int) -> None:
    with pytest.raises(PrivpipeError, match=rf"multiple of 8 from 8 to 256 .* got {size}\. Use 32"):
        sample_images(10, size)


@pytest.mark.parametrize("count", [0, -3])
def test_bad_count(count: int) -> None:
    with pytest.raises(PrivpipeError, match=rf"at least 1; got {count}\. Raise data\.n_train"):
        sample_images(count)
