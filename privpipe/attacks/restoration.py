"""The best linear estimate of a picture from its perturbed version, where the operator is known.

    from privpipe.attacks.restoration import Prior, restore
    pictures = restore(perturbed, "gaussian_blur", k=7, key=None, sigma=0.0, prior=Prior.of(public))

Every method here is linear in the picture, y = K x + noise, the same K for each colour. Under a prior of mean m and
covariance S, the linear estimate with the least mean square error is

    x = m + S Kᵀ (K S Kᵀ + N)⁻¹ (y - K m),

with N the covariance of the noise: what rounding adds, and the noise process where its field is not known. K is the
exact operator with its reflected borders, not a convolution on a torus. The colours are rotated so that they are about
uncorrelated, and each component is estimated alone; K acts on all colours alike and the noise is the same in all of
them, so the rotation changes neither.

Source: Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series" (1949), in the form for finite
vectors of Pratt, "Generalized Wiener filtering computation techniques", IEEE Transactions on Computers (1972).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array, issparse

from privpipe.attacks.base import Floats, levels_of_grey
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images, from_blocks, to_blocks
from privpipe.perturb.gaussian_blur import blur_sigma

Doubles = NDArray[np.float64]

WHITE = 255.0
MAX_PIXELS = 64 * 64  # a covariance of 64x64 pixels takes 134 MB, and about eight of them are alive at once
ROUNDING = 1 / 12  # variance of the error of rounding to whole levels
SMALLEST_NOISE = 1e-4  # squared levels; keeps the system regular where nothing was rounded
CHUNK_IMAGES = 4096  # public images turned to float32 at a time
FIXED_POINT = 256  # OpenCV's 8-bit blur has weights in multiples of 1/256
DENSE_SHARE = 0.05  # of weights that are not zero, from which a dense product is faster than a sparse one

NOISES = ("gaussian_noise", "correlated_noise")
LINEAR = ("none", "gaussian_blur", "pixelate", "random_filter", "block_mix", *NOISES)
KEY_DIMENSIONS = {"random_filter": 2, "block_mix": 3}

# The generic prior. Axes of colour after Ohta, Kanade and Sakai, "Color information for region segmentation" (1980),
# who found them near the principal axes of natural pictures; the last two have a chroma each.
OHTA = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3.0], [2.0], [6.0]])
GREY_LEVEL = 120.0
# Variance, share c that all pixels have in common, and length L in image widths: round numbers near those of the
# training pictures of CIFAR-10 (small pictures of whole scenes). No test picture was looked at.
GENERIC = ((11000.0, 0.15, 0.4), (800.0, 0.45, 0.4), (200.0, 0.45, 0.4))
# The generic model counts as much as this many public images, as in the mean of an inverse Wishart distribution.
PRIOR_IMAGES = 300.0


@dataclass(frozen=True)
class Prior:
    """What is known of pictures before any is seen: a mean, and a covariance for each component of colour.

    Args:
        mean: float64 (H, W, C), levels of 0..255.
        colours: float64 (C, C), orthonormal; row c gives component c of a pixel from its colours.
        covariances: float64 (C, H*W, H*W), of the pixels of each component, in squared levels; positive definite.
    """

    mean: Doubles
    colours: Doubles
    covariances: Doubles

    @classmethod
    def of(cls, public: Images) -> "Prior":
        """Mean and covariances of public images, uint8 (M, H, W, C), H = W, with some of the generic model in them.

        Colours are rotated to their principal axes. A picture and its mirror image are taken to be equally likely,
        which halves what there is to learn. With S of M images, the covariance is (M·S + n·G) / (M + n),
        G the generic model scaled to the component's variance, n = PRIOR_IMAGES.

        Raises:
            PrivpipeError: not such images, or they are too large.
        """
        if public.dtype != np.uint8 or public.ndim != 4 or len(public) < 2 or public.shape[1] != public.shape[2]:
            raise PrivpipeError(
                f"public images must be uint8 (M, H, W, C), square, with M at least 2; got {public.dtype} "
                f"{public.shape}. Pass pictures of the same kind as those under attack."
            )
        count, size, _, channels = public.shape
        generic = cls.generic(size, channels)
        mirrored = np.arange(size * size).reshape(size, size)[:, ::-1].ravel()
        mean = public.mean(axis=0, dtype=np.float64)
        mean = (mean + mean[:, ::-1]) / 2
        colours = _principal_axes(public, mean)
        covariances = np.empty_like(generic.covariances)
        for component, axis in enumerate(colours):
            products = _products(public, mean, axis)
            products = (products + products[np.ix_(mirrored, mirrored)]) / 2
            model = generic.covariances[component] * (np.trace(products) / np.trace(generic.covariances[component]))
            covariances[component] = (products + (PRIOR_IMAGES / count) * model) / (count + PRIOR_IMAGES)
            covariances[component][np.diag_indices(size * size)] += ROUNDING
        return cls(mean, colours, covariances)

    @classmethod
    def known(cls, public: Images | None, image_size: int, channels: int) -> "Prior":
        """Of public images where there are at least two, and else the generic model."""
        return cls.generic(image_size, channels) if public is None or len(public) < 2 else cls.of(public)

    @classmethod
    def generic(cls, image_size: int, channels: int) -> "Prior":
        """A model of natural pictures that needs none: R(d) = v·((1 - c)·exp(-d/L) + c) at a distance of d pixels.

        Raises:
            PrivpipeError: neither one nor three channels, or the images are too large.
        """
        if channels not in (1, 3):
            raise PrivpipeError(
                f"the generic prior is for 1 or 3 channels; got {channels}. Pass public images instead."
            )
        check_size(image_size)
        y, x = np.divmod(np.arange(image_size * image_size), image_size)
        distance = np.hypot(y[:, None] - y, x[:, None] - x)
        colours = OHTA if channels == 3 else np.eye(1)
        covariances = np.empty((channels, *distance.shape))
        for component, (variance, common, length) in enumerate(GENERIC[:channels]):
            scale = variance / (1 if channels == 3 else 3)  # the mean of three colours has a third of OHTA's variance
            decay = np.exp(-distance / (length * image_size))
            covariances[component] = scale * ((1 - common) * decay + common)
            covariances[component][np.diag_indices(len(decay))] += ROUNDING
        return cls(np.full((image_size, image_size, channels), GREY_LEVEL), colours, covariances)


def restore(perturbed: Array, method: str, k: int, key: Array | None, sigma: float, prior: Prior) -> Floats:
    """Estimate the originals of `perturbed` images.

    Args:
        perturbed: as stored, uint8 or float16 in units where white is 1; (T, H, W, C), H = W.
        method, k, sigma: the transformation, as `privpipe.params.Perturb` describes it.
        key: as `Perturbation.dataset_key` of the method, or as its `image_keys` with one entry for each image. None
            for methods without a key, and for noise whose field is not known: that is denoised.
        prior: of pictures of the same shape.

    Returns:
        float32 (T, H, W, C) in levels of 0..255, clipped to them, not rounded.

    Raises:
        PrivpipeError: a key is missing or not of the method's form, the shapes differ, the images are too large, or the
            method is not known.
    """
    size = perturbed.shape[1]
    check_size(size)
    if perturbed.shape[1:] != prior.mean.shape:
        raise PrivpipeError(
            f"the prior must be of images {perturbed.shape[1:]} as the perturbed ones; got {prior.mean.shape}. Make it "
            "with Prior.of or Prior.generic for that shape."
        )
    _check_key(key, method, k, perturbed.shape)
    levels = levels_of_grey(perturbed)
    if method == "none":
        return levels
    if method == "block_scramble" and key is not None:
        return _unscramble(levels, k, key)
    if method in NOISES and key is not None:
        return _clipped(levels - key)
    observed, noise = observations(levels, method, k), _rounding(perturbed)
    if key is not None and key.ndim > KEY_DIMENSIONS[method]:
        return _estimate_each(observed, (operator(method, k, one, size) for one in key), noise, prior)
    covariance = noise * np.eye(observed.shape[1])
    if method in NOISES:
        covariance += noise_covariance(method, k, sigma, size)
    return estimate(observed, operator(method, k, key, size), covariance, prior)


def estimate(observed: Array, matrix: csr_array, noise: Doubles, prior: Prior) -> Floats:
    """The estimate of the module's description, for observations that share their operator.

    Args:
        observed: y, (T, Q, C), levels.
        matrix: K, (Q, H*W), for each colour.
        noise: N, (Q, Q), squared levels.
        prior: of images (H, W, C).

    Returns:
        float32 (T, H, W, C) in levels of 0..255, clipped to them.
    """
    centred = (observed - _predicted(matrix, prior)) @ prior.colours.T
    dense = _fast(matrix)
    found = np.empty((len(observed), matrix.shape[1], len(prior.colours)))
    for component, covariance in enumerate(prior.covariances):
        crossed = dense @ covariance  # (Q, P)
        spread = dense @ crossed.T + noise
        weights = cho_solve(cho_factor(spread, lower=True, overwrite_a=True), centred[:, :, component].T)
        found[:, :, component] = weights.T @ crossed
    return _pictures(found, prior)


def observations(levels: Floats, method: str, k: int) -> Floats:
    """The values (T, Q, C) that the rows of `operator` give, from perturbed images (T, H, W, C)."""
    if method == "pixelate":  # one value for each block
        return np.asarray(to_blocks(levels, k).mean(axis=2))
    return levels.reshape(len(levels), -1, levels.shape[-1])


def operator(method: str, k: int, key: Array | None, image_size: int) -> csr_array:
    """K of a method with its key, (Q, H*W); Q is H*W, or the number of blocks of `pixelate`.

    Raises:
        PrivpipeError: the method has no such operator.
    """
    if method in ("none", *NOISES):
        return csr_array(_correlation(np.ones((1, 1)), image_size))
    if method == "gaussian_blur":
        row = blur_row(k)
        return _correlation(np.outer(row, row), image_size)
    if method == "pixelate":
        return _block_diagonal(np.full(((image_size // k) ** 2, 1, k * k), 1 / (k * k)), image_size, k)
    if method == "random_filter" and key is not None:
        return _correlation(np.asarray(key, np.float64), image_size)
    if method == "block_mix" and key is not None:
        return _block_diagonal(np.asarray(key, np.float64), image_size, k)
    raise PrivpipeError(f"{method} has no linear operator here. Use one of {', '.join(LINEAR)}, with its key.")


def noise_covariance(method: str, k: int, sigma: float, image_size: int) -> Doubles:
    """(H*W, H*W): covariance of the noise that `privpipe.perturb.noise` adds to each colour, in squared levels."""
    if method == "gaussian_noise":
        return sigma**2 * np.eye(image_size * image_size)
    row = cv2.getGaussianKernel(k, blur_sigma(k), cv2.CV_64F).ravel()
    smoothing = _fast(_correlation(np.outer(row, row), image_size))
    covariance = smoothing @ smoothing.T
    return (sigma / float((row**2).sum())) ** 2 * _dense(covariance)


def blur_row(k: int) -> Doubles:
    """The weights (k,) that `cv2.GaussianBlur` has for 8-bit images, along one axis: multiples of 1/256.

    OpenCV rounds from the ends to the middle and carries each error to the next weight; the middle takes what is left.
    Its sums are then exact, and the result is rounded once.
    """
    exact = cv2.getGaussianKernel(k, blur_sigma(k), cv2.CV_64F).ravel() * FIXED_POINT
    row = np.zeros(k)
    error = 0.0
    for i in range(k // 2):
        row[i] = row[k - 1 - i] = np.rint(exact[i] + error)
        error += exact[i] - row[i]
    row[k // 2] = FIXED_POINT - row.sum()
    return row / FIXED_POINT


def check_size(image_size: int) -> None:
    """Refuse images whose covariances would fill the memory."""
    if image_size * image_size > MAX_PIXELS:
        raise PrivpipeError(
            f"images may have {MAX_PIXELS:,} pixels each, since memory grows with their square; got "
            f"{image_size}x{image_size}. Scale them down, or attack each part alone."
        )


def _estimate_each(observed: Floats, matrices: Iterable[csr_array], noise: float, prior: Prior) -> Floats:
    """As `estimate`, where every image has an operator of its own.

    In the equivalent form (Kᵀ K + n S⁻¹) x = Kᵀ y about the mean: S is inverted once, K stays sparse, and one
    factorisation for each image and component is what is left.
    """
    precisions = [noise * np.linalg.inv(covariance) for covariance in prior.covariances]
    found = np.empty((len(observed), precisions[0].shape[0], len(precisions)))
    for image, matrix in enumerate(matrices):
        centred = matrix.T @ ((observed[image] - _predicted(matrix, prior)) @ prior.colours.T)
        squared = _dense(_fast(matrix).T @ _fast(matrix))
        for component, precision in enumerate(precisions):
            factor = cho_factor(squared + precision, lower=True, overwrite_a=True, check_finite=False)
            found[image, :, component] = cho_solve(factor, centred[:, component], check_finite=False)
    return _pictures(found, prior)


def _predicted(matrix: csr_array, prior: Prior) -> Doubles:
    """K m, (Q, C)."""
    return np.asarray(matrix @ prior.mean.reshape(matrix.shape[1], -1))


def _pictures(components: Doubles, prior: Prior) -> Floats:
    """Deviations from the mean (T, P, C), in components of colour, as images (T, H, W, C)."""
    return _clipped((components @ prior.colours).reshape(-1, *prior.mean.shape) + prior.mean)


def _clipped(images: Array) -> Floats:
    return np.clip(images, 0, WHITE).astype(np.float32)


def _correlation(weights: Doubles, image_size: int) -> csr_array:
    """Correlation with weights (k, k), borders reflected without repeating the edge, as a matrix (P, P)."""
    k, pixels = len(weights), image_size * image_size
    places = np.arange(pixels).reshape(image_size, image_size)
    sources = sliding_window_view(np.pad(places, k // 2, mode="reflect"), (k, k)).reshape(-1)
    rows = np.arange(0, pixels * k * k + 1, k * k)
    matrix = csr_array((np.tile(weights.ravel(), pixels), sources, rows), shape=(pixels, pixels))
    matrix.sum_duplicates()
    return matrix


def _block_diagonal(weights: Doubles, image_size: int, k: int) -> csr_array:
    """Block b of k*k pixels times weights[b], as a matrix (Q, P); weights are (blocks, values for each block, k*k).

    With k*k values for each block, these take the places of its pixels; with fewer, they stand block after block.
    """
    blocks, values, n = weights.shape
    pixels = image_size * image_size
    places = to_blocks(np.arange(pixels).reshape(1, image_size, image_size, 1), k)[0, :, :, 0]
    rows = places if values == n else np.arange(blocks * values).reshape(blocks, values)
    shape = (blocks, values, n)
    at = (np.broadcast_to(rows[:, :, None], shape).ravel(), np.broadcast_to(places[:, None], shape).ravel())
    return csr_array((weights.ravel(), at), shape=(blocks * values, pixels))


def _fast(matrix: csr_array) -> Any:
    """Dense where a product with a dense matrix is then faster."""
    return matrix.toarray() if matrix.nnz > DENSE_SHARE * matrix.shape[0] * matrix.shape[1] else matrix


def _dense(matrix: Any) -> Doubles:
    return np.asarray(matrix.toarray() if issparse(matrix) else matrix)


def _unscramble(levels: Floats, k: int, key: Array) -> Floats:
    """Put pixels back by permutations (blocks, k*k), or (T, blocks, k*k)."""
    inverse = np.argsort(key, axis=-1).reshape(-1, *key.shape[-2:], 1)
    return from_blocks(np.take_along_axis(to_blocks(levels, k), inverse, axis=2), levels.shape[1], k)


def _rounding(perturbed: Array) -> float:
    """Mean variance of the error of rounding to the type of the stored images, in squared levels."""
    if perturbed.dtype == np.uint8:
        return ROUNDING
    # Half a unit in the last place is the most, and all errors up to it are about equally likely. Zeros are exact or
    # tiny; the floor keeps the system regular.
    units = np.spacing(np.abs(perturbed)).astype(np.float64)
    return max(float((units**2).mean()) / 12 * WHITE**2, SMALLEST_NOISE)


def _principal_axes(public: Images, mean: Doubles) -> Doubles:
    """Rows are the principal axes of colour, the one with most variance first."""
    channels = public.shape[-1]
    products = np.zeros((channels, channels))
    for start in range(0, len(public), CHUNK_IMAGES):
        centred = (public[start : start + CHUNK_IMAGES] - mean.astype(np.float32)).reshape(-1, channels)
        products += centred.T @ centred
    return np.asarray(np.linalg.eigh(products)[1].T[::-1])


def _products(public: Images, mean: Doubles, axis: Doubles) -> Doubles:
    """Sums over images of the products of two pixels' deviations along an axis of colour, (P, P)."""
    weights = axis.astype(np.float32)
    middle = mean.astype(np.float32) @ weights
    products = np.zeros((middle.size, middle.size))
    for start in range(0, len(public), CHUNK_IMAGES):
        centred = (public[start : start + CHUNK_IMAGES] @ weights - middle).reshape(-1, middle.size)
        products += centred.T @ centred
    return products


def _check_key(key: Array | None, method: str, k: int, shape: tuple[int, ...]) -> None:
    """Raises PrivpipeError where the key is not of the method's form."""
    count, size, _, channels = shape
    forms = {
        "random_filter": (k, k),
        "block_mix": ((size // k) ** 2, k * k, k * k),
        "block_scramble": ((size // k) ** 2, k * k),
        **dict.fromkeys(NOISES, (size, size, channels)),
    }
    if method not in forms or (key is None and method in NOISES):
        return
    form = forms[method]
    if key is None or key.shape not in (form, (count, *form)):
        raise PrivpipeError(
            f"the key of {method} must be {form}, or {(count, *form)} for one per image; got "
            f"{None if key is None else key.shape}. Pass what Perturbation.dataset_key or image_keys returns."
        )
