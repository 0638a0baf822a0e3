"""What a second release of the same images tells: how much nearer both together come to the images than one alone.

`python -m privpipe.scores.release_table` prints it for all methods. Two kinds of second release, both under the same
key:

- another setting: noise of twice the strength, the next larger k of the other methods (the next smaller one where there
  is none), or twice or half of a setting of its own where a method has no other k. Measured is the best affine
  combination of both releases, the same for all images and pixels, against the best of one release. Its coefficients
  are fitted on one half of the images and judged on the other. Beside it stands the same with a second release whose
  key material is independent: combining that helps as well, and cannot be avoided. Of some methods both keys of an
  image follow from its two releases, even where they are independent (`Perturbation.keys_from_releases`). How well they
  are found is measured as well.
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
from privpipe.perturb.settings import in_words
from privpipe.perturb.values import pixel_values

WHITE = 255.0
MOST_IMAGES, MOST_VALUES = 200, 1 << 22
MOST_KEYS = 20  # images whose keys are sought
LEAST_IMAGES = 4  # two to fit on, two to judge by
LEAST_ERROR = 1e-10  # of the square of white: 100 dB
NAMES = (
    "second_release_gain_db",
    "second_release_independent_gain_db",
    "second_release_filters_found",
    "grown_release_changed",
    "grown_release_gain_db",
)
DECIMALS = {"gain_db": 1, "filters_found": 3, "release_changed": 3}  # of what is published, by what a name ends in
Metrics = dict[str, str | float | None]


def second_release(perturbation: Perturbation, originals: Images) -> Metrics:
    """The flat metrics of both kinds; None with a reason in `second_release_problem` where there is nothing to measure.

    Args:
        perturbation: the owner's, with the key.
        originals: uint8 (N, H, W, C); at most the first 200 are used, fewer where they are large.

    Returns:
        `second_release_setting`: the other setting.
        `second_release_gain_db`, `second_release_independent_gain_db`: in dB of PSNR over the better of the two alone.
        `second_release_filters_found`: median likeness of the keys found and the true ones; None for methods of
            which no such way is known.
        `grown_release_changed`: 0..1; `grown_release_gain_db`: in dB of PSNR over independent material.
    """
    if not perturbation.keyed:
        return not_measured(f"{perturbation.name} has no key: one release tells all there is")
    if perturbation.features:
        return not_measured(f"{perturbation.name} gives features, which are not compared with the images")
    nothing = not_measured(None)
    images = originals[: max(LEAST_IMAGES, min(MOST_IMAGES, MOST_VALUES // math.prod(originals.shape[1:])))]
    if len(images) < LEAST_IMAGES:
        return {**nothing, "second_release_problem": f"it takes {LEAST_IMAGES} images to measure; got {len(images)}"}
    changed, grown = _grown(perturbation, images)
    metrics = {**nothing, "grown_release_changed": changed, "grown_release_gain_db": grown}
    other = another_setting(perturbation)
    if other is None:
        return {**metrics, "second_release_problem": f"{perturbation.name} has no other setting with a secret"}
    setting = f"sigma={other.sigma:g}" if other.noisy else f"k={other.k}"
    if other.settings != perturbation.settings:
        setting = in_words(other.settings)
    first = perturbation.apply(images)
    try:
        second = other.apply(images)
        gains = [_gain(images, first, again) for again in (second, _independent(other).apply(images))]
    except PrivpipeError as error:
        return {**metrics, "second_release_problem": f"{setting}: {error}"}
    return {
        **metrics,
        "second_release_setting": setting,
        NAMES[0]: gains[0],
        NAMES[1]: gains[1],
        NAMES[2]: _keys_found(perturbation, other, images, first, second),
    }


def not_measured(why: str | None) -> Metrics:
    """The flat metrics without a number, and why."""
    return {"second_release_setting": None, **dict.fromkeys(NAMES), "second_release_problem": why}


def another_setting(perturbation: Perturbation) -> Perturbation | None:
    """The same method and key with another setting; None where there is none with a secret."""
    if perturbation.noisy:
        return replace(perturbation, sigma=2 * perturbation.sigma)
    # With k = 1 a scramble moves nothing.
    legal = [k for k in perturbation.legal_k(perturbation.image_size) or [] if k not in (1, perturbation.k)]
    larger = [k for k in legal if k > perturbation.k]
    if not legal:
        return _another_of_its_own(perturbation)
    return replace(perturbation, k=min(larger) if larger else max(legal))


def _another_of_its_own(perturbation: Perturbation) -> Perturbation | None:
    """With twice or half of the first of the settings that only this method has, whichever is legal."""
    for name, declared in perturbation.own_settings().items():
        value = perturbation.settings[name]
        for other in (2 * value, value / 2):
            if other != value and declared.accepts(other):
                return replace(perturbation, **{name: other})  # type: ignore[arg-type]  # the method's own fields
    return None


def _independent(perturbation: Perturbation) -> Perturbation:
    """The same with key material that has nothing to do with the owner's."""
    assert perturbation.stream is not None
    return replace(perturbation, stream=perturbation.stream.child("independent"))


def _gain(images: Images, first: Array, second: Array) -> float:
    """PSNR of the best affine combination of two releases minus that of the better one, in dB."""
    one, two = (pixel_values(release) for release in (first, second))
    return _fitted_psnr(images, [one, two]) - max(_fitted_psnr(images, [one]), _fitted_psnr(images, [two]))


def _keys_found(one: Perturbation, two: Perturbation, images: Images, first: Array, second: Array) -> float | None:
    """Median likeness of the keys that two releases give away and the true ones, over the first images and both keys.

    None for methods of which no such way is known.
    """
    images = images[:MOST_KEYS]
    both = one.keys_from_releases(two, first[:MOST_KEYS], second[:MOST_KEYS])
    if both is None:
        return None
    recovered = []
    for method, keys in zip((one, two), both, strict=True):
        truth = method.image_keys(images) if method.scope == "image" else method.shared_key(images.shape[3])
        assert truth is not None
        truths = truth if method.scope == "image" else [truth] * len(images)
        recovered += [method.key_similarity(key, true).pixels for key, true in zip(keys, truths, strict=True)]
    return float(np.median(recovered))


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
    reached, unavoidable = (_fitted_psnr(truth, [difference]) for difference in differences)
    return changed, reached - unavoidable


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
