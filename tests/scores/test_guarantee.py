"""The guarantee of the noise is that of the privacy loss itself, integrated or drawn; nothing else has one."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from scipy.stats import norm

from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, KeyStream
from privpipe.perturb.gaussian_blur import blur_sigma
from privpipe.perturb.gaussian_noise import STEP, GaussianNoise
from privpipe.perturb.keystream import half_quantiles
from privpipe.scores.guarantee import beyond_the_end, guarantee, table
from privpipe.statistics.accounting import delta_of, epsilon_of


def integrated(value: float, mu: float) -> float:
    """delta(epsilon) as the integral of max(0, p - exp(epsilon) q), p = N(mu, 1), q = N(0, 1)."""
    x = np.linspace(mu - 40, mu + 40, 400_001)
    # log p - epsilon - log q is the privacy loss less epsilon.
    excess = -np.expm1(np.minimum(0.0, value - (mu * x - mu * mu / 2)))
    return float(np.trapezoid(norm.pdf(x, mu) * excess, x))


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 5.0, 50.0, 565.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
def test_epsilon_is_where_the_integral_of_the_privacy_loss_is_delta(mu: float, delta: float) -> None:
    found = epsilon_of(mu, delta)
    if found == 0:
        assert integrated(0, mu) <= delta
    else:
        assert integrated(found, mu) == pytest.approx(delta, rel=1e-4)


@pytest.mark.parametrize("mu", [1e-3, 1.0, 30.0, 1e3, 1e6])
def test_delta_falls_from_the_total_variation_to_nothing(mu: float) -> None:
    assert delta_of(0, mu) == pytest.approx(2 * norm.cdf(mu / 2) - 1)
    values = [delta_of(mu * mu / 2 + t * mu, mu) for t in np.linspace(-5, 8, 40) if mu * mu / 2 + t * mu >= 0]
    assert all(0 <= low <= high for high, low in pairwise(values))
    assert values[-1] < 1e-12


def test_agrees_with_a_published_value() -> None:
    # The classical mechanism at epsilon = 1 and delta = 1e-5 takes sigma = sqrt(2 ln(1.25/delta)) = 4.84; the exact
    # one takes 3.73 (Balle and Wang, 2018).
    assert epsilon_of(1 / 3.7306, 1e-5) == pytest.approx(1, abs=1e-3)


def test_too_little_sensitivity_needs_no_epsilon() -> None:
    assert epsilon_of(1e-6, 1e-5) == 0


def test_large_epsilons_follow_the_privacy_loss() -> None:
    # The loss is N(mu²/2, mu²); epsilon is near its 1 - delta quantile, a few units below.
    for mu in (1e3, 1e5, 1e7):
        assert epsilon_of(mu, 1e-5) == pytest.approx(mu * mu / 2 + mu * norm.isf(1e-5), abs=3, rel=1e-12)


def test_independent_noise_has_the_sensitivity_of_the_colours() -> None:
    found = guarantee("gaussian_noise", 32, 3, 1, "image", 25.0)
    assert found.epsilon_pixel == pytest.approx(epsilon_of(255 * 3**0.5 / 25, 1e-5))
    assert found.epsilon_image == pytest.approx(epsilon_of(255 * 3072**0.5 / 25, 1e-5))
    assert found.statement.startswith("(230.5, 1e-05)-differentially private for a change of one pixel, (1.622e+05,")
    assert "computational" in found.statement


def test_correlated_noise_of_one_pixel_is_independent() -> None:
    one, other = (guarantee(name, 8, 3, 1, "image", 50.0) for name in ("gaussian_noise", "correlated_noise"))
    assert other.epsilon_pixel == pytest.approx(one.epsilon_pixel)
    assert other.epsilon_image == pytest.approx(one.epsilon_image)


def covariance(size: int, k: int, sigma: float) -> np.ndarray:
    """Of the smoothed noise of one colour, (size², size²), from the smoothing of single pixels."""
    impulses = np.eye(size * size).reshape(size, size, -1)
    smooth = cv2.GaussianBlur(impulses, (k, k), blur_sigma(k)).reshape(size * size, -1)
    row = cv2.getGaussianKernel(k, blur_sigma(k))
    return np.asarray((sigma / (row**2).sum()) ** 2 * smooth @ smooth.T)


def test_correlated_noise_has_the_sensitivity_of_its_covariance() -> None:
    size, sigma = 5, 60.0
    inverse = np.linalg.inv(covariance(size, 3, sigma))
    found = guarantee("correlated_noise", size, 1, 3, "image", sigma)
    assert found.epsilon_pixel == pytest.approx(epsilon_of(255 * inverse.diagonal().max() ** 0.5, 1e-5), rel=1e-6)
    # Of all differences within the box, random ones and the checkerboard stay below the bound; the latter nearly is it.
    board = np.where(np.indices((size, size)).sum(axis=0) % 2, -255.0, 255.0).ravel()
    rough = np.random.default_rng(1).choice([-255.0, 255.0], (100, size * size))
    worst = max(d @ inverse @ d for d in (board, *rough)) ** 0.5
    assert found.epsilon_image is not None
    assert 0.5 * found.epsilon_image < epsilon_of(worst, 1e-5) <= found.epsilon_image
    assert "an upper bound" in found.statement


@pytest.mark.parametrize(("name", "k"), [("gaussian_noise", 1), ("correlated_noise", 3)])
def test_fields_that_are_drawn_lose_no_more_privacy_than_that(name: str, k: int) -> None:
    # A strong noise and a delta that 8,000 draws can see: the mean of max(0, 1 - exp(epsilon - loss)).
    size, sigma, delta, count = 3, 3000.0 if k == 3 else 200.0, 0.1, 8_000
    method = METHODS[name](size, k, "image", sigma, KeyStream(bytes(range(32))))
    fields = method.image_keys(np.zeros((count, size, size, 3), np.uint8))  # equal images: a field for each
    assert fields is not None
    noise = fields.reshape(count, -1, 3).astype(np.float64)
    inverse = np.linalg.inv(covariance(size, k, sigma))
    pixel = int(inverse.diagonal().argmax())
    change = np.zeros((size * size, 3))
    change[pixel] = 255.0
    loss = (change * (inverse @ change)).sum() / 2 + np.einsum("npc,pc->n", noise, inverse @ change)
    value = guarantee(name, size, 3, k, "image", sigma, delta).epsilon_pixel
    assert value is not None and value > 0
    drawn = np.maximum(0, 1 - np.exp(value - loss))
    assert drawn.mean() == pytest.approx(delta, abs=4 * drawn.std() / count**0.5)


@pytest.mark.parametrize(
    ("name", "k", "scope", "sigma", "reason"),
    [
        ("none", 1, "image", 25.0, "function of the image"),
        ("gaussian_blur", 7, "image", 25.0, "function of the image"),
        ("random_filter", 5, "image", 25.0, "function of the image"),
        ("block_scramble", 4, "image", 25.0, "function of the image"),
        ("gaussian_noise", 1, "dataset", 25.0, "same noise"),
        ("gaussian_noise", 1, "image", 0.0, "sigma is 0"),
        ("correlated_noise", 31, "image", 25.0, "no inverse to rely on"),
    ],
)
def test_everything_else_has_none_and_says_why(name: str, k: int, scope: str, sigma: float, reason: str) -> None:
    found = guarantee(name, 32, 3, k, scope, sigma)
    assert found.epsilon_pixel is None and found.epsilon_image is None
    assert found.statement.startswith("No guarantee") and reason in found.statement


@pytest.mark.parametrize(
    ("name", "sigma", "pixel", "image"),
    [
        ("gaussian_noise", 48.0, "1", "1"),  # an output may be impossible for the other image
        ("gaussian_noise", 100.0, "0.0089", "1"),
        ("gaussian_noise", 600.0, "1.6e-06", "0.0017"),
        ("correlated_noise", 100.0, "1", "1"),
    ],
)
def test_what_the_end_of_the_noise_adds_to_delta_is_said(name: str, sigma: float, pixel: str, image: str) -> None:
    found = guarantee(name, 32, 3, 3 if name == "correlated_noise" else 1, "image", sigma)
    assert f"up to {pixel} must be added to the delta of a pixel, and {image} to that of an image;" in found.statement


def given(level: int, sigma: float, least: float) -> tuple[np.ndarray, np.ndarray]:
    """What comes of a value by all noise of at least that many sigma, float16, and in how many of 2^32 draws."""
    table = half_quantiles(sigma / 255)
    low = least * sigma / 255
    drawn = [one + table[np.searchsorted(table, low - one) :] for one in table[table > low - table[-1]]]
    values = np.rint((np.concatenate(drawn) + np.float32(level) * STEP) * 2**12) / 2**12
    return np.unique(values.astype(np.float16), return_counts=True)


@pytest.mark.parametrize("sigma", [200.0, 600.0])
def test_outputs_that_another_image_cannot_give_are_within_what_is_said(sigma: float) -> None:
    (black, _), (white, counts) = given(0, sigma, 4.3), given(255, sigma, 4.3 - 255 / sigma)
    impossible = counts[(white > 4.4 * sigma / 255) & ~np.isin(white, black)].sum() / 2**32
    assert 0.1 * beyond_the_end(255 / sigma, 1) < impossible < beyond_the_end(255 / sigma, 1)


@pytest.mark.parametrize("sigma", [600.0, 1000.0, 2300.0, 10_000.0, 1e5])
def test_no_output_about_0_is_left_out(sigma: float) -> None:
    """`noise` has no value next to 0: outputs in the gap would tell, by what is missing, that an image is not black."""
    step, table = GaussianNoise(32, 1, "image", sigma).step, half_quantiles(sigma / 255)
    near, steps = np.float32(20 * step), np.arange(-15, 16)
    first, last = (np.searchsorted(table, end - table) for end in (-near, near))
    drawn = np.concatenate([one + table[a:b] for one, a, b in zip(table, first, last, strict=True)])
    for level in (0, 100, 255):  # of which the outputs lie elsewhere between the values
        offset = level / 255 % step
        assert np.isin(steps, np.rint((drawn + np.float32(offset)) / step)).all()


def test_the_table_has_the_function_s_values() -> None:
    assert "| gaussian_noise |  | 25 | 230.5 | 162,215.6 |" in table()


def test_refuses_a_method_that_does_not_exist() -> None:
    with pytest.raises(PrivpipeError, match=r"^the method must be one of block_mix, "):
        guarantee("sharpen", 32, 3, 1, "image", 25.0)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5])
def test_refuses_a_delta_that_is_no_probability(delta: float) -> None:
    with pytest.raises(PrivpipeError, match=rf"between 0 and 1, both excluded; got {delta}\. Use 1e-05"):
        guarantee("gaussian_noise", 32, 3, 1, "image", 25.0, delta)
