"""What a second release of the same images tells: how much nearer both together come to the images than one alone.

`python -m privpipe.scores.release_table` prints it for all methods. Two kinds of second release, both under the same
key:

- another setting: noise of twice the strength, the next larger k of the other methods (the next smaller one where there
  is none). Measured is the best affine combination of both releases, the same for all images and pixels, against the
  best of one release. Its coefficients are fitted on one half of the images and judged on the other. Beside it stands
  the same with a second release whose key material is independent: combining that helps as well, and cannot be avoided.
  A random filter of another size is more than that: both filters of an image follow from its two releases, even where
  they are independent, for each release filtered with the filter of the other is the same (Xu, Liu, Tong and Kailath,
  "A least-squares approach to blind channel identification", IEEE Transactions on Signal Processing, 1995). How well
  they are found is measured as well.
- a set that grew by one image, which stands first, so that every row holds another image. Measured is how many of the
  unchanged images come out changed, and how near the differences of equal rows come to the differences of the images,
  over what they would with independent material. Where all images share a key the same can be had from two rows of one
  release: then the figure is what that costs, not what the second release adds.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.values import pixel_values

WHITE = 255.0
MOST_IMAGES, MOST_VALUES = 200, 1 << 22
MOST_FILTERED = 20
LEAST_IMAGES = 4  # two to fit on, two to judge by
LEAST_ERROR = 1e-10  # of the square of white: 100 dB
NAMES = (
    "second_release_gain_db",
    "second_release_independent_gain_db",
    "second_release_filters_found",
    "grown_release_changed",
    "grown_release_gain_db",
)
Metrics = dict[str, str | float | None]


def second_release(perturbation: Perturbation, originals: Images) -> Metrics:
    """The flat metrics of both kinds; None with a reason in `second_release_problem` where there is nothing to measure.

    Args:
        perturbation: the owner's, with the key.
        originals: uint8 (N, H, W, C); at most the first 200 are used, fewer where they are large.

    Returns:
        `second_release_setting`: the other setting.
        `second_release_gain_db`, `second_release_independent_gain_db`: in dB of PSNR over the better of the two alone.
        `second_release_filters_found`: median |cosine| of the filters found and the true ones; None for other methods.
        `grown_release_changed`: 0..1; `grown_release_gain_db`: in dB of PSNR over independent material.
    """
    nothing: Metrics = {"second_release_setting": None, **dict.fromkeys(NAMES), "second_release_problem": None}
    if not perturbation.keyed:
        return {
            **nothing,
            "second_release_problem": f"{perturbation.name} has no key: one release tells all there is",
        }
    images = originals[: max(LEAST_IMAGES, min(MOST_IMAGES, MOST_VALUES // math.prod(originals.shape[1:])))]
    if len(images) < LEAST_IMAGES:
        return {**nothing, "second_release_problem": f"it takes {LEAST_IMAGES} images to measure; got {len(images)}"}
    changed, grown = _grown(perturbation, images)
    found = {**nothing, "grown_release_changed": changed, "grown_release_gain_db": grown}
    other = another_setting(perturbation)
    if other is None:
        return {**found, "second_release_problem": f"{perturbation.name} has no other setting with a secret"}
    setting = f"sigma={other.sigma:g}" if other.noisy else f"k={other.k}"
    first = perturbation.apply(images)
    try:
        second = other.apply(images)
        gains = [_gain(images, first, again) for again in (second, _independent(other).apply(images))]
    except PrivpipeError as error:
        return {**found, "second_release_problem": f"{setting}: {error}"}
    return {
        **found,
        "second_release_setting": setting,
        NAMES[0]: gains[0],
        NAMES[1]: gains[1],
        NAMES[2]: _found(perturbation, other, images, first, second),
    }


def another_setting(perturbation: Perturbation) -> Perturbation | None:
    """The same method and key with another setting; None where there is none with a secret."""
    if perturbation.noisy:
        return replace(perturbation, sigma=2 * perturbation.sigma)
    # With k = 1 a scramble moves nothing.
    legal = [k for k in perturbation.legal_k(perturbation.image_size) or [] if k not in (1, perturbation.k)]
    larger = [k for k in legal if k > perturbation.k]
    if not legal:
        return None
    return replace(perturbation, k=min(larger) if larger else max(legal))


def _independent(perturbation: Perturbation) -> Perturbation:
    """The same with key material that has nothing to do with the owner's."""
    assert perturbation.stream is not None
    return replace(perturbation, stream=perturbation.stream.child("independent"))


def _gain(images: Images, first: Array, second: Array) -> float:
    """PSNR of the best affine combination of two releases minus that of the better one, in dB."""
    one, two = (pixel_values(release) for release in (first, second))
    return _fitted_psnr(images, [one, two]) - max(_fitted_psnr(images, [one]), _fitted_psnr(images, [two]))


def _found(one: Perturbation, two: Perturbation, images: Images, first: Array, second: Array) -> float | None:
    """Median |cosine| of the filters found from two releases and the true ones, of the first images, over both sizes.

    None for other methods, and for images too small for their filters.
    """
    border, inner = max(one.k, two.k) // 2 * 2, one.image_size - max(one.k, two.k) // 2 * 4
    if one.name != "random_filter" or inner < 1 or inner**2 * images.shape[3] < one.k**2 + two.k**2:
        return None
    images = images[:MOST_FILTERED]
    keys = [each.image_keys(images) if each.scope == "image" else each.dataset_key for each in (one, two)]
    cosines = []
    for i in range(len(images)):
        # The true filters a and b solve: first filtered with b, minus second filtered with a, is 0. Without the border,
        # where reflected edges make it wrong.
        columns = [_shifted(first[i], two.k, border), -_shifted(second[i], one.k, border)]
        matrix = np.hstack(columns)
        solution = np.linalg.eigh(matrix.T @ matrix)[1][:, 0]
        for found, key in ((solution[two.k**2 :], keys[0]), (solution[: two.k**2], keys[1])):
            assert key is not None
            truth = (key[i] if key.ndim == 3 else key).ravel()
            cosines.append(abs(found @ truth) / (np.linalg.norm(found) * np.linalg.norm(truth)))
    return float(np.median(cosines))


def _shifted(image: Array, k: int, border: int) -> NDArray[np.float64]:
    """The image (H, W, C) shifted by each place of a kernel, without a border: a column for each, (pixels, k*k)."""
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (k, k), axis=(0, 1))
    cut = border - k // 2
    inner = windows[cut : len(windows) - cut, cut : len(windows) - cut]
    return inner.reshape(-1, k * k)


def _grown(perturbation: Perturbation, images: Images) -> tuple[float, float]:
    """Share of unchanged images that come out changed by a new first image, and the gain of differences of rows."""
    before, after = perturbation.apply(images[1:]), perturbation.apply(images)
    there = {image.tobytes() for image in after}
    changed = sum(image.tobytes() not in there for image in before) / len(before)
    truth = images[:-1].astype(np.float32) - images[1:]
    differences = [
        pixel_values(release[:-1]) - pixel_values(before)
        for release in (after, _independent(perturbation).apply(images))
    ]
    found, unavoidable = (_fitted_psnr(truth, [difference]) for difference in differences)
    return changed, found - unavoidable


def _fitted_psnr(truth: Array, known: Sequence[Array]) -> float:
    """PSNR in dB of the affine combination of `known` that fits one half of `truth` best, on the other half."""
    columns: NDArray[np.float64] = np.stack(
        [*(each.reshape(len(truth), -1) for each in known), np.ones((len(truth), truth[0].size))], axis=-1
    )
    wanted, fitted = truth.reshape(len(truth), -1).astype(np.float64), slice(0, len(truth), 2)
    judged = slice(1, len(truth), 2)
    matrix, values = columns[fitted].reshape(-1, columns.shape[-1]), wanted[fitted].ravel()
    coefficients = np.linalg.lstsq(matrix.T @ matrix, matrix.T @ values, rcond=None)[0]
    error = float(np.square(columns[judged] @ coefficients - wanted[judged]).mean()) / WHITE**2
    return -10 * math.log10(max(error, LEAST_ERROR))
