"""The best linear estimate of an image from its perturbed version, where the operator is known.

    from privpipe.attacks.restoration import Prior, restore
    images = restore(perturbed, GaussianBlur(32, k=7), key=None, prior=Prior.of(public))

Where the method says how its key undoes it, that is done. Else noise that is known is taken off
(`privpipe.attacks.known_noise`, `privpipe.attacks.decoded`), and the method says that it is linear in the image,
y = K x + noise, with the same K for each colour. Under a prior of mean m and covariance S, the linear estimate with the
least mean square error is

    x = m + S Kᵀ (K S Kᵀ + N)⁻¹ (y - K m),

with N the covariance of the noise: what rounding adds, and the noise process where its field is not known. K is the
exact operator with its reflected borders, not a convolution on a torus. The colours are rotated so that they are about
uncorrelated, and each component is estimated alone; K acts on all colours alike and the noise is the same in all of
them, so the rotation changes neither.

Images of more than 32×32 pixels are estimated in overlapping windows (`privpipe.attacks.windows`), each from what is
observed of it alone, under a prior of windows; of each the middle is kept. What a sharp filter did to a pixel shows far
from it: where its kernel is known, images are estimated whole by a banded factorisation (`privpipe.attacks.banded`),
which on drawn images of 48×48 is 2 to 7 dB nearer than windows, and five times as fast.

Source: Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series" (1949), in the form for finite
vectors of Pratt, "Generalized Wiener filtering computation techniques", IEEE Transactions on Computers (1972).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from privpipe.attacks.banded import Bands
from privpipe.attacks.decoded import restore_decoded
from privpipe.attacks.known_noise import without_noise
from privpipe.attacks.moments import principal_axes, products_along
from privpipe.attacks.windows import Window, reach_of, sample_windows, side_of, unit_of, windows
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images, Perturbation
from privpipe.perturb.linear import fast
from privpipe.perturb.values import ROUNDING_OF_INTEGERS, Doubles, Floats, pixel_values, rounding_variance

WHITE = 255.0
MOST_WINDOWS = 20_000  # of public images that a prior is made of
CHUNK_VALUES = 1 << 23  # values of windows that are estimated at a time: 64 MB
MOST_BAND = 2048  # of pixels before and behind a pixel that a filter joins; time grows with its square
SMALLEST_NOISE = 1e-4  # squared grey levels; keeps the system regular where nothing was rounded

# The generic prior. Axes of colour after Ohta, Kanade and Sakai, "Color information for region segmentation" (1980),
# who found them near the principal axes of natural images; the last two have a chroma each.
OHTA = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3.0], [2.0], [6.0]])
GREY_LEVEL = 120.0
# Variance, fraction c that all pixels have in common, and length L in image widths: round numbers near those of the
# training images of CIFAR-10 (small images of whole scenes). No test image was looked at.
GENERIC = ((11000.0, 0.15, 0.4), (800.0, 0.45, 0.4), (200.0, 0.45, 0.4))
# The generic model counts as much as this many public images, as in the mean of an inverse Wishart distribution.
PRIOR_IMAGES = 300.0

# What errors of a key add to an image, a covariance (Q, Q) in squared grey levels, or to a window that holds the blocks
# of these numbers.
KeyNoise = Callable[[NDArray[np.intp]], Doubles | None]


@dataclass(frozen=True)
class Prior:
    """What is known of images or windows before any is seen: a mean, and a covariance for each component of colour.

    Args:
        mean: float64 (H, W, C), grey levels of 0..255.
        colours: float64 (C, C), orthonormal; row c gives component c of a pixel from its colours.
        covariances: float64 (C, H*W, H*W), of the pixels of each component, in squared grey levels; positive definite.
    """

    mean: Doubles
    colours: Doubles
    covariances: Doubles

    @classmethod
    def of(cls, public: Images) -> "Prior":
        """Mean and covariances of public images, uint8 (M, H, W, C), H = W, with some of the generic model in them.

        Colours are rotated to their principal axes. An image and its mirror image are taken to be equally likely,
        which halves what there is to learn. With S of M images, the covariance is (M·S + n·G) / (M + n),
        G the generic model scaled to the component's variance, n = PRIOR_IMAGES.

        Raises:
            PrivpipeError: not such images.
        """
        if public.dtype != np.uint8 or public.ndim != 4 or len(public) < 2 or public.shape[1] != public.shape[2]:
            raise PrivpipeError(
                f"public images must be uint8 (M, H, W, C), square, with M at least 2; got {public.dtype} "
                f"{public.shape}. Pass images of the same kind as those under attack."
            )
        count, size, _, channels = public.shape
        generic = cls.generic(size, channels)
        mirrored = np.arange(size * size).reshape(size, size)[:, ::-1].ravel()
        mean = public.mean(axis=0, dtype=np.float64)
        mean = (mean + mean[:, ::-1]) / 2
        colours = principal_axes(public, mean)
        covariances = np.empty_like(generic.covariances)
        for component, axis in enumerate(colours):
            products = products_along(public, mean, axis)
            products = (products + products[np.ix_(mirrored, mirrored)]) / 2
            model = generic.covariances[component] * (np.trace(products) / np.trace(generic.covariances[component]))
            covariances[component] = (products + (PRIOR_IMAGES / count) * model) / (count + PRIOR_IMAGES)
            covariances[component][np.diag_indices(size * size)] += ROUNDING_OF_INTEGERS
        return cls(mean, colours, covariances)

    @classmethod
    def known(cls, public: Images | None, method: Perturbation, channels: int) -> "Prior":
        """For images of a method, or the windows that they are estimated in: of public images (M, H, W, C) where there
        are at least two, and else the generic model."""
        side = side_of(method)
        if public is None or len(public) < 2:
            return cls.generic(side, channels, method.image_size)
        whole = public.shape[1] == side
        return cls.of(public if whole else sample_windows(public, side, unit_of(method), MOST_WINDOWS))

    @classmethod
    def generic(cls, image_size: int, channels: int, whole: int | None = None) -> "Prior":
        """A model of natural images that needs none: R(d) = v·((1 - c)·exp(-d/L) + c) at a distance of d pixels.

        Three channels are taken for red, green and blue. Of any other number nobody knows how they go together: each
        is an image in grey by itself, which claims too little and nothing that is wrong.

        Args:
            whole: the size of the images where `image_size` is that of windows of them.
        """
        y, x = np.divmod(np.arange(image_size * image_size), image_size)
        distance = np.hypot(y[:, None] - y, x[:, None] - x)
        coloured = channels == len(OHTA)
        colours = OHTA if coloured else np.eye(channels)
        covariances = np.empty((channels, *distance.shape))
        for component in range(channels):
            variance, common, length = GENERIC[component if coloured else 0]
            scale = variance / (1 if coloured else 3)  # the mean of three colours has a third of OHTA's variance
            decay = np.exp(-distance / (length * (whole or image_size)))
            covariances[component] = scale * ((1 - common) * decay + common)
            covariances[component][np.diag_indices(len(decay))] += ROUNDING_OF_INTEGERS
        return cls(np.full((image_size, image_size, channels), GREY_LEVEL), colours, covariances)


def restore(
    perturbed: Array,
    method: Perturbation,
    key: Array | None,
    prior: Prior | None,
    key_noise: KeyNoise | None = None,
    rounding: float | None = None,
) -> Floats:
    """Estimate the originals of `perturbed` images: exactly where the key undoes the method, else linearly.

    Args:
        perturbed: as stored, uint8 or float16 in units where white is 1; (T, H, W, C), H = W.
        method: the transformation; its own key is not used.
        key: as `Perturbation.dataset_key` of the method, or as its `image_keys` with one entry for each image. None
            for methods without a key, and for noise whose field is not known: that is denoised.
        prior: of images of the same shape, or of the windows that they are estimated in (`Prior.known`); None where the
            key undoes the method, which needs none.
        key_noise: what errors of the key add.
        rounding: variance of what was rounded away, squared grey levels; None: by the type of the stored images.

    Returns:
        float32 (T, H, W, C) in grey levels of 0..255, clipped to them, not rounded.

    Raises:
        PrivpipeError: the method gives features, a key is missing or not of the method's form, the shapes differ, or
            the method says neither how its key undoes it nor what its linear operator is.
    """
    if method.features:
        raise PrivpipeError(f"{method.name} gives features, which no linear estimate restores.")
    each = _one_for_each(key, method, perturbed.shape)
    if method.undone_by_key and (key is not None or not method.keyed):
        return _clipped(method.invert(perturbed, key))
    side, channels = side_of(method), perturbed.shape[3]
    if prior is None or prior.mean.shape not in (perturbed.shape[1:], (side, side, channels)):
        raise PrivpipeError(
            f"the prior must be of images {perturbed.shape[1:]} as the perturbed ones, or of windows of {side} pixels; "
            f"got {None if prior is None else prior.mean.shape}. Make it with Prior.known."
        )
    if key is not None and (decoded := method.decoded(perturbed, key)) is not None:
        return restore_decoded(*decoded, method.operator(key), prior)
    if rounding is None:
        rounding = rounding_variance(perturbed, WHITE, SMALLEST_NOISE)
    unknown: Perturbation | None = replace(method, image_size=len(prior.mean))  # whose noise is not known
    if key is not None and method.noise_is_key:
        perturbed, key, each, unknown = without_noise(perturbed, method, key, prior), None, False, None
    of_blocks = partial(_noise, unknown, key_noise)
    if len(prior.mean) < perturbed.shape[1]:
        if key is not None and key_noise is None and _local(method):
            return _whole(perturbed, method, key if each else key[None], prior, rounding)
        return _in_windows(perturbed, method, key, each, prior, of_blocks, rounding)
    observed = method.observations(pixel_values(perturbed))
    noise = of_blocks(np.arange((method.image_size // method.k) ** 2 if method.blocks else 0))
    if each and noise is None:
        return _estimate_each(observed, map(method.operator, np.asarray(key)), rounding, prior)
    white = rounding * np.eye(observed.shape[1])
    noise = white if noise is None else noise + white
    if each:
        operators = map(method.operator, np.asarray(key))
        return np.concatenate(
            [estimate(y[None], one, noise, prior) for y, one in zip(observed, operators, strict=True)]
        )
    return estimate(observed, method.operator(key), noise, prior)


def _noise(method: Perturbation | None, key_noise: KeyNoise | None, blocks: NDArray[np.intp]) -> Doubles | None:
    """Covariance of all noise but rounding, (Q, Q), `method` being the one that adds some; None where there is none."""
    noises = [None if method is None else method.noise_covariance(), None if key_noise is None else key_noise(blocks)]
    added = [noise for noise in noises if noise is not None]
    return sum(added[1:], added[0]) if added else None


def _local(method: Perturbation) -> bool:
    """Whether what a pixel becomes depends on few others near it, and on no noise but rounding."""
    band = 2 * reach_of(method) * (method.image_size + 1)
    return 0 < band <= MOST_BAND and method.noise_covariance() is None


def _whole(perturbed: Array, method: Perturbation, keys: Array, prior: Prior, rounding: float) -> Floats:
    """As `restore` for images larger than the prior's windows, each under its own key or all under one, (1, ...)."""
    size = method.image_size
    mean = np.broadcast_to(prior.mean.mean(axis=(0, 1)), (size, size, prior.mean.shape[2]))
    whole = replace(prior, mean=mean)  # windows are of all places, so that they have about one mean
    bands, images = Bands(prior.covariances, rounding, size), np.empty(perturbed.shape, np.float32)
    step = 1 if len(keys) > 1 else max(1, CHUNK_VALUES // mean.size)
    for start in range(0, len(perturbed), step):
        matrix = method.operator(keys[start if len(keys) > 1 else 0])
        observed = method.observations(pixel_values(perturbed[start : start + step]))
        centred = (observed - _predicted(matrix, whole)) @ prior.colours.T
        sides = (matrix.T @ centred.transpose(1, 2, 0).reshape(size * size, -1)).reshape(size * size, -1, len(observed))
        images[start : start + step] = _images(bands.solve(matrix, sides).transpose(2, 0, 1), whole)
    return images


def _in_windows(
    perturbed: Array,
    method: Perturbation,
    key: Array | None,
    each: bool,
    prior: Prior,
    of_blocks: KeyNoise,
    rounding: float,
) -> Floats:
    """As `restore`, in windows of the size of the prior's; `of_blocks` gives all noise but rounding."""
    small = replace(method, image_size=len(prior.mean))
    images = np.empty(perturbed.shape, np.float32)
    bands = Bands(prior.covariances, rounding)
    for alike in _of_one_operator(method, small.image_size, key is not None):
        blocks = alike[0].blocks(method.image_size, method.k) if method.blocks else np.arange(0)
        own = key if key is None or not method.blocks else np.take(key, blocks, axis=int(each))
        seen = alike[0].complete(reach_of(method)).ravel()
        noise = of_blocks(blocks)
        if each and noise is None:
            _restore_each(perturbed, small, np.asarray(own), (prior, bands), alike, seen, images)
            continue
        matrix = small.operator(None if each else own)
        rows = seen if matrix.shape[0] == len(seen) else np.ones(matrix.shape[0], bool)
        total = rounding * np.eye(matrix.shape[0]) + (0 if noise is None else noise)
        _restore_alike(perturbed, small, (matrix[rows], total[np.ix_(rows, rows)]), prior, alike, rows, images)
    return images


def _of_one_operator(method: Perturbation, side: int, keyed: bool) -> list[list[Window]]:
    """The windows of an image, those together that the method treats alike: blocks with a key each are a kind each."""
    kinds: dict[object, list[Window]] = {}
    for window in windows(method.image_size, side, unit_of(method), overlap=True):
        place = (window.top, window.left) if method.blocks and keyed else None
        kinds.setdefault((place, window.cut if reach_of(method) else None), []).append(window)
    return list(kinds.values())


def _restore_alike(
    perturbed: Array,
    small: Perturbation,
    system: tuple[csr_array, Doubles],
    prior: Prior,
    alike: list[Window],
    rows: NDArray[np.bool_],
    images: Floats,
) -> None:
    """Windows that share their operator and noise, `system`, in all images: their cores, in place.

    Args:
        rows: which of the observations of a window the operator has.
    """
    matrix, noise = system
    gains = _gains(matrix, noise, prior)
    predicted = _predicted(matrix, prior)
    step = max(1, CHUNK_VALUES // prior.mean.size)
    for start in range(0, len(perturbed), step):
        part = slice(start, start + step)
        for window in alike:
            observed = small.observations(pixel_values(window.of(perturbed[part])))[:, rows]
            centred = (observed - predicted) @ prior.colours.T
            deviations = np.stack([centred[:, :, c] @ gain for c, gain in enumerate(gains)], axis=2)
            images[part, *window.core] = _images(deviations, prior)[:, *window.inner_core]


def _restore_each(
    perturbed: Array,
    small: Perturbation,
    keys: Array,
    known: tuple[Prior, Bands],
    alike: list[Window],
    seen: NDArray[np.bool_],
    images: Floats,
) -> None:
    """Windows that share their operator within an image, every image having its own: their cores, in place.

    Args:
        seen: the pixels whose observation depends on no pixel beyond the window.
    """
    prior, bands = known
    for image, own in enumerate(keys):
        matrix = small.operator(own)
        matrix.data = matrix.data * np.repeat(seen, np.diff(matrix.indptr))
        predicted = _predicted(matrix, prior)
        observed = np.stack([window.of(perturbed[image : image + 1])[0] for window in alike])
        centred = (small.observations(pixel_values(observed)) * seen[:, None] - predicted) @ prior.colours.T
        sides = (matrix.T @ centred.transpose(1, 2, 0).reshape(len(seen), -1)).reshape(len(seen), -1, len(alike))
        restored = _images(bands.solve(matrix, sides).transpose(2, 0, 1), prior)
        for window, whole in zip(alike, restored, strict=True):
            images[image, *window.core] = whole[window.inner_core]


def estimate(observed: Array, matrix: csr_array, noise: Doubles, prior: Prior) -> Floats:
    """The estimate of the module's description, for observations that share their operator.

    Args:
        observed: y, (T, Q, C), grey levels.
        matrix: K, (Q, H*W), for each colour.
        noise: N, (Q, Q), squared grey levels.
        prior: of images (H, W, C).

    Returns:
        float32 (T, H, W, C) in grey levels of 0..255, clipped to them.
    """
    centred = (observed - _predicted(matrix, prior)) @ prior.colours.T
    whole = fast(matrix)
    deviations = np.empty((len(observed), matrix.shape[1], len(prior.colours)))
    for component, covariance in enumerate(prior.covariances):
        crossed = whole @ covariance  # (Q, P)
        spread = whole @ crossed.T + noise
        weights = cho_solve(cho_factor(spread, lower=True, overwrite_a=True), centred[:, :, component].T)
        deviations[:, :, component] = weights.T @ crossed
    return _images(deviations, prior)


def _gains(matrix: csr_array, noise: Doubles, prior: Prior) -> Doubles:
    """What the deviations of `estimate` are made of, for observations that come in parts: (C, Q, P)."""
    gains = np.empty((len(prior.colours), *matrix.shape))
    for gain, covariance in zip(gains, prior.covariances, strict=True):
        crossed = matrix @ covariance
        spread = matrix @ crossed.T + noise
        gain[:] = cho_solve(cho_factor(spread, lower=True, overwrite_a=True), crossed)
    return gains


def _estimate_each(observed: Floats, matrices: Iterable[csr_array], noise: float, prior: Prior) -> Floats:
    """As `estimate`, where every image has an operator of its own; see `privpipe.attacks.banded`."""
    bands = Bands(prior.covariances, noise)
    deviations = np.empty((len(observed), prior.covariances.shape[1], len(prior.colours)))
    for image, matrix in enumerate(matrices):
        centred = (observed[image] - _predicted(matrix, prior)) @ prior.colours.T
        deviations[image] = bands.solve(matrix, (matrix.T @ centred)[:, :, None])[:, :, 0]
    return _images(deviations, prior)


def _predicted(matrix: csr_array, prior: Prior) -> Doubles:
    """K m, (Q, C)."""
    return np.asarray(matrix @ prior.mean.reshape(matrix.shape[1], -1))


def _images(components: Doubles, prior: Prior) -> Floats:
    """Deviations from the mean (T, P, C), in components of colour, as images (T, H, W, C)."""
    return _clipped((components @ prior.colours).reshape(-1, *prior.mean.shape) + prior.mean)


def _clipped(images: Array) -> Floats:
    return np.clip(images, 0, WHITE).astype(np.float32)


def _one_for_each(key: Array | None, method: Perturbation, shape: tuple[int, ...]) -> bool:
    """Whether there is a key for each of the images of that shape.

    Raises:
        PrivpipeError: the key is not of the method's form, or there is none where one is needed.
    """
    count, *_, channels = shape
    form = method.key_form(channels)
    if form is None or (key is None and method.operator_without_key):
        return False
    if key is None or key.shape not in (form, (count, *form)):
        raise PrivpipeError(
            f"the key of {method.name} must be {form}, or {(count, *form)} for one per image; got "
            f"{None if key is None else key.shape}. Pass what Perturbation.dataset_key or image_keys returns."
        )
    return key.ndim > len(form)
