"""What training images are like: against NumPy's own quantiles and formulas, and what is noticed by it."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from privpipe.data.synthetic import draw
from privpipe.nn.input_statistics import QUANTILES, SAMPLE, InputStatistics, features, measure_inputs
from privpipe.owner.key import new_key
from privpipe.perturb import METHODS

SIZE, EACH = 16, 300
DRAWN = draw(2 * EACH, SIZE, rng=np.random.default_rng(3)).images


def perturbed(method: str, images: NDArray[np.uint8] = DRAWN) -> NDArray[np.generic]:
    k = 8 if METHODS[method].blocks else 5
    return METHODS[method](SIZE, k, "image", 25.0, new_key(0).stream).apply(images)


@pytest.mark.parametrize("method", ["none", "random_filter"])  # uint8 and float16, with negative values
def test_quantiles_are_those_of_all_values(method: str) -> None:
    images = perturbed(method)
    statistics = measure_inputs([torch.from_numpy(images[:100]), torch.from_numpy(images[100:])])  # as it is streamed
    assert statistics.images == len(images)
    for channel, found in enumerate(statistics.quantiles):
        values = images[..., channel].astype(np.float64)
        expected = np.quantile(values, QUANTILES, method="inverted_cdf")
        np.testing.assert_allclose(found, expected, rtol=5e-4)


def test_features_are_those_of_their_definition() -> None:
    image = np.random.default_rng(0).normal(size=(7, 7, 2)).astype(np.float16)
    values = image.astype(float)
    level, contrast, smoothness = features(image[None])[0]
    assert level == pytest.approx(values.mean(), rel=1e-5)
    assert contrast == pytest.approx(np.mean([values[..., 0].std(), values[..., 1].std()]), rel=1e-5)
    near = np.diff(values, axis=0).ravel() ** 2, np.diff(values, axis=1).ravel() ** 2
    far = ((values[2:] - values[:-2]) ** 2).ravel(), ((values[:, 2:] - values[:, :-2]) ** 2).ravel()
    ratio = (far[0].mean() + far[1].mean()) / (near[0].mean() + near[1].mean())
    assert smoothness == pytest.approx(math.sqrt(ratio), rel=1e-5)


def test_no_more_images_than_needed_are_looked_at() -> None:
    def parts() -> Iterator[torch.Tensor]:
        yield torch.zeros(SAMPLE - 1, 4, 4, 1, dtype=torch.uint8)
        yield torch.zeros(2, 4, 4, 1, dtype=torch.uint8)
        raise AssertionError("read on")

    statistics = measure_inputs(parts())
    assert statistics.images == SAMPLE
    assert not statistics.unlike(np.zeros((4, 4, 1), np.uint8))  # a blank set, and a blank image
    assert "its level is 200" in statistics.unlike(np.full((4, 4, 1), 200, np.uint8))


@pytest.mark.parametrize(
    "method", ["none", "gaussian_blur", "pixelate", "block_scramble", "block_mix", "random_filter"]
)
def test_what_is_noticed_and_what_is_not(method: str) -> None:
    images = perturbed(method)
    statistics = measure_inputs([torch.from_numpy(images[:EACH])])
    asked = images[EACH:].astype(np.float32)
    white = np.float32(255)

    def noticed(cases: NDArray[np.generic]) -> float:
        return float(np.mean([bool(statistics.unlike(image)) for image in cases]))

    assert noticed(asked) <= 1 / EACH
    assert noticed(asked[..., ::-1]) <= 1 / EACH  # other channels first: no number here tells
    assert noticed(asked / white) == 1 and noticed(asked * white) == 1
    if method in ("block_scramble", "block_mix"):
        raw = DRAWN[EACH:] if images.dtype == np.uint8 else DRAWN[EACH:] / white
        assert noticed(raw) > 0.9
    assert "level is nan" in statistics.unlike(np.full((SIZE, SIZE, 3), np.nan, np.float32))


def test_it_comes_back_from_json_as_it_was() -> None:
    statistics = measure_inputs([torch.from_numpy(DRAWN)])
    assert InputStatistics.parse(statistics.describe()) == statistics
    forged = statistics.describe() | {"limits": {"level": [1, 0], "contrast": [0, 1], "smoothness": [0, 1]}}
    with pytest.raises(ValueError, match="limits of inputs are impossible"):
        InputStatistics.parse(forged)
