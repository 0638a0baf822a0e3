"""What a network's training images are like in numbers, so that an input unlike them is noticed.

Of an image as it is stored (perturbed, 0..255 or in units where white is 1) three numbers are looked at, all channels
together: its level (mean), its contrast (standard deviation), and its smoothness: how much more pixels two steps apart
differ than neighbours. A wrong scale changes level and contrast, a perturbation that is missing the smoothness.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

FEATURES = ("level", "contrast", "smoothness")
QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
SAMPLE, CHUNK = 5000, 256  # images looked at, the first of a set, whose order is random; and at a time
MARGIN, FEW = (
    0.35,
    10.0,
)  # what is allowed beyond the training images, as a fraction of their span: MARGIN + FEW / images
LEAST_MARGIN = 0.02
LEAST = 1e-3  # contrasts below it are one: blank images have none, and limits are set in its logarithm
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class InputStatistics:
    """Of the images that a network was trained on, as they are stored.

    Args:
        images: how many were looked at.
        quantiles: of the values of each channel, at `QUANTILES`, one tuple for each channel.
        limits: (low, high) of each of `FEATURES`, beyond which an image is unlike the training images.
    """

    images: int
    quantiles: tuple[tuple[float, ...], ...]
    limits: tuple[tuple[float, float], ...]

    def describe(self) -> dict[str, Any]:
        """As JSON values; quantiles by their fraction, for each channel; limits by the name of the feature."""
        by_fraction = zip(*self.quantiles, strict=True)
        quantiles = {str(fraction): list(row) for fraction, row in zip(QUANTILES, by_fraction, strict=True)}
        limits = {name: list(pair) for name, pair in zip(FEATURES, self.limits, strict=True)}
        return {"images": self.images, "quantiles": quantiles, "limits": limits}

    @classmethod
    def parse(cls, about: dict[str, Any]) -> "InputStatistics":
        """What `describe` gave; a ValueError, KeyError or TypeError for anything else."""
        rows = [[float(value) for value in about["quantiles"][str(fraction)]] for fraction in QUANTILES]
        limits = tuple((float(low), float(high)) for low, high in (about["limits"][name] for name in FEATURES))
        if not all(-math.inf < low <= high < math.inf for low, high in limits):
            raise ValueError("its limits of inputs are impossible")
        return cls(int(about["images"]), tuple(zip(*rows, strict=True)), limits)

    def unlike(self, image: NDArray[Any]) -> str:
        """In what an image (H, W, C) is unlike the training images; empty where it is not."""
        pairs = zip(FEATURES, features(image[None])[0], self.limits, strict=True)
        return ", ".join(
            f"its {name} is {value:.3g} and theirs {low:.3g} to {high:.3g}"
            for name, value, (low, high) in pairs
            if not low <= value <= high  # of NaN this is true
        )


def measure_inputs(parts: Iterable[Tensor]) -> InputStatistics:
    """The statistics of a training set: stored images (N, H, W, C), uint8 or float16, in parts, at least one image."""
    chosen: list[NDArray[Any]] = []
    for part in parts:
        chosen.append(part[: SAMPLE - sum(map(len, chosen))].cpu().numpy())
        if sum(map(len, chosen)) == SAMPLE:
            break
    images = np.concatenate(chosen)
    looked = np.concatenate([features(images[i : i + CHUNK]) for i in range(0, len(images), CHUNK)])
    looked[:, 1:] = np.log(looked[:, 1:])  # of contrast and smoothness the ratio counts
    low, high = np.quantile(looked, [QUANTILES[0], QUANTILES[-1]], axis=0)
    # At least a fiftieth, for what all training images have alike: of contrast and smoothness, or of the contrast.
    least = [LEAST_MARGIN * math.exp(np.median(looked[:, 1])), LEAST_MARGIN, LEAST_MARGIN]
    beyond = np.maximum((MARGIN + FEW / len(images)) * (high - low), least)
    low, high = low - beyond, high + beyond
    low[1:], high[1:] = np.exp(low[1:]), np.exp(high[1:])
    limits = tuple((_short(a), _short(b)) for a, b in zip(low, high, strict=True))
    return InputStatistics(len(images), quantiles_of(images), limits)


def features(images: NDArray[Any]) -> Doubles:
    """Level, contrast and smoothness of stored images (N, H, W, C): (N, 3).

    Smoothness is the root of the ratio of mean squared differences at two pixels' and at one pixel's distance, along
    rows and columns: 1 for noise, up to 2 for what is smooth; 1 where there are no differences.
    """
    values = images.astype(np.float32)
    contrast = values.std(axis=(1, 2)).mean(axis=1)
    near, far = (_differences(values, step) for step in (1, 2))
    known = (near > 0) & (far > 0)
    smoothness = np.sqrt(np.where(known, far, 1) / np.where(known, near, 1))
    return np.stack([values.mean(axis=(1, 2, 3)), np.maximum(contrast, LEAST), smoothness], axis=1).astype(np.float64)


def _differences(values: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Mean squared difference of pixels `step` apart, along columns plus along rows, (N,)."""
    if values.shape[1] <= step:
        return np.zeros(len(values), np.float32)
    down, across = values[:, step:] - values[:, :-step], values[:, :, step:] - values[:, :, :-step]
    total: NDArray[np.float32] = (down**2).mean(axis=(1, 2, 3)) + (across**2).mean(axis=(1, 2, 3))
    return total


def quantiles_of(images: NDArray[Any]) -> tuple[tuple[float, ...], ...]:
    """`QUANTILES` of each channel of images (N, H, W, C), uint8 or float16, each a value that occurs."""
    kind = np.dtype(f"u{images.dtype.itemsize}")
    every = np.arange(2 ** (8 * kind.itemsize), dtype=kind).view(images.dtype)  # all values that the type has
    order = np.argsort(every, kind="stable")
    out = []
    for channel in range(images.shape[3]):
        counts = np.zeros(len(every), np.int64)
        for first in range(0, len(images), CHUNK):
            codes = np.ascontiguousarray(images[first : first + CHUNK, ..., channel]).view(kind)
            counts += np.bincount(codes.ravel(), minlength=len(every))
        total = counts[order].cumsum()
        ranks = [math.ceil(fraction * total[-1]) for fraction in QUANTILES]
        out.append(tuple(_short(every[order][i]) for i in np.searchsorted(total, ranks)))
    return tuple(out)


def _short(value: Any) -> float:
    """Four digits: no more of the images than that, and the same on every processor."""
    return float(f"{value:.4g}")
