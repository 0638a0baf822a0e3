"""Which picture is it? Re-identification of targets among candidate pictures.

    from privpipe.attacks.linkage import method_similarity
    likeliest = method_similarity(targets, gallery, "random_filter", k=5, scope="image", sigma=0.0).argmax(axis=1)

An attacker who suspects that a perturbed image is one of some pictures at hand (they were on the web, say) need not
reconstruct anything. `method_similarity` asks of each candidate how likely the perturbed image is if it was made of
this one, whatever the key was: the method is public, and the unknown key is integrated out, or replaced by what no
key changes. No other image is used, so it does not matter whether they share the key.

| method | what is compared |
|---|---|
| none, gaussian_blur, pixelate | the method's output on the candidate |
| block_scramble | the sorted values of each block and colour, which no permutation changes |
| random_filter | what the best of all k×k kernels leaves unexplained |
| block_mix | log-likelihood: rows of a mixed block are Gaussian with the block's second moments |
| gaussian_noise, correlated_noise | log-likelihood: distance weighted with the inverse covariance of the noise |

`picture_similarity` compares reconstructions with pictures and knows nothing of how they were made.

Both are our own compositions of textbook statistics (normalised correlation, least squares, Gaussian likelihoods).
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.base import Floats, levels_of_grey
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS
from privpipe.perturb.base import Array, Images, to_blocks
from privpipe.perturb.gaussian_blur import kernel

Values = NDArray[np.float64]

WHITE = 255.0
COARSE = 8  # height and width of the coarse scale in pixels
# float16 keeps 11 bits: values near white are off by up to 2^-12, uniformly. Its variance, where white is 1.
ROUNDING = 2.0**-22 / 12
MIN_EQUATIONS = 512  # pixels and colours that a kernel is fitted to
EQUATIONS_PER_WEIGHT = 2
CHUNK_VALUES = 4 << 20  # float32 values of candidates' patches at a time: 16 MB
MAX_KERNEL = 15  # a fit to one candidate takes time with the fourth power and more


def picture_similarity(images: Floats, gallery: Images) -> Floats:
    """How much each reconstruction resembles each picture, float32 (T, G), at most 2.

    The sum of two normalised correlations over all pixels and colours: of the images as they are, and of both reduced
    to 8×8 by area. The first suffers less under noise, the second under blur and displaced pixels. Neither changes
    with brightness or contrast.

    Args:
        images: reconstructions, float32 (T, H, W, C) in levels, of any range.
        gallery: uint8 (G, H, W, C).

    Raises:
        PrivpipeError: the shapes do not fit.
    """
    _check(images, gallery)
    fine = _standardised(images) @ _standardised(gallery).T
    coarse = _standardised(_reduced(images)) @ _standardised(_reduced(gallery)).T
    return np.asarray(fine + coarse, np.float32)


def _reduced(images: Array) -> Floats:
    """(n, H, W, C) by area to (n, 8, 8, C); smaller pictures stay as they are."""
    count, height, width, channels = images.shape
    if height <= COARSE or width <= COARSE:
        return images.astype(np.float32)
    reduced = [cv2.resize(i, (COARSE, COARSE), interpolation=cv2.INTER_AREA) for i in images.astype(np.float32)]
    return np.array(reduced, np.float32).reshape(count, COARSE, COARSE, channels)


def _standardised(images: Array) -> Floats:
    """Each image as a vector of mean 0 and length 1, (n, H*W*C); a blank one is 0 throughout."""
    vectors = images.reshape(len(images), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))


def method_similarity(targets: Array, gallery: Images, method: str, k: int, scope: str, sigma: float) -> Floats:
    """How likely each target was made of each candidate by `method` with an unknown key, float32 (T, G).

    Values compare within a row only: the highest of each is 0.

    Time is two operations for every target, candidate and number compared; those are H·W·C, and for random_filter k²
    times max(512, 2·k²) but no more than H·W·C: a few seconds for 1,000 by 1,000 pictures and k up to 7.

    Args:
        targets: perturbed images as stored, uint8 or float16 (T, H, W, C).
        gallery: candidate pictures, uint8 (G, H, W, C).
        method, k, scope, sigma: the transformation, as `privpipe.params.Perturb` describes it.

    Raises:
        PrivpipeError: the shapes do not fit, the method is not known here, or a kernel is too large.
    """
    _check(targets, gallery)
    if method not in METHODS or (METHODS[method].keyed and method not in _KEYED):
        known = [name for name, kind in METHODS.items() if not kind.keyed] + list(_KEYED)
        raise PrivpipeError(f"no similarity is known for the method {method!r}. Use one of {', '.join(known)}.")
    if METHODS[method].keyed:
        similarity = _KEYED[method](targets, gallery, k, sigma)
    else:
        candidates = METHODS[method](gallery.shape[1], k, scope, sigma).apply(gallery)
        similarity = -_squared_distances(targets, candidates)
    return np.asarray(similarity - similarity.max(axis=1, keepdims=True), np.float32)


def _block_scramble(targets: Array, gallery: Images, k: int, sigma: float) -> Values:
    return -_squared_distances(*(np.sort(to_blocks(images, k), axis=2) for images in (targets, gallery)))


def _random_filter(targets: Array, gallery: Images, k: int, sigma: float) -> Values:
    """Squared length of the target's projection on what k×k kernels can make of a candidate.

    With orthonormal columns Q that span the candidate's k² shifted copies, the best kernel leaves |t|² - |Qᵀt|². The
    kernel has few unknowns, so a fixed draw of pixels and colours stands for all of them.
    """
    if k > MAX_KERNEL:
        raise PrivpipeError(f"kernels up to {MAX_KERNEL}×{MAX_KERNEL} can be fitted to each candidate; got k = {k}.")
    size = targets[0].size
    count = min(size, max(MIN_EQUATIONS, EQUATIONS_PER_WEIGHT * k * k))
    places = np.sort(np.random.default_rng(0).permutation(size)[:count])
    wanted = targets.reshape(len(targets), size)[:, places].astype(np.float32)
    similarity = np.empty((len(targets), len(gallery)))
    step = max(1, CHUNK_VALUES // (count * k * k))
    for first in range(0, len(gallery), step):
        copies = _shifted(gallery[first : first + step], k, places)
        # Candidates as columns of one product: (T, count) times (count, n * k²).
        bases = np.linalg.qr(copies)[0].transpose(1, 0, 2).reshape(count, -1)
        lengths = np.square(wanted @ bases).reshape(len(targets), len(copies), -1).sum(axis=2, dtype=np.float64)
        similarity[:, first : first + step] = lengths
    return similarity


def _shifted(images: Images, k: int, places: NDArray[np.int64]) -> Floats:
    """Copies of images (n, H, W, C) shifted by each offset of a kernel, at `places`: float32 (n, places, k*k)."""
    width, channels = images.shape[2:]
    pixel, colour = np.divmod(places, channels)
    y, x = np.divmod(pixel, width)
    margin = k // 2
    # Borders as the filter has them: reflected, without the edge pixel again.
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    dy, dx = (offset.ravel() for offset in np.indices((k, k)))
    return padded[:, y[:, None] + dy, x[:, None] + dx, colour[:, None]].astype(np.float32) / np.float32(WHITE)


def _block_mix(targets: Array, gallery: Images, k: int, sigma: float) -> Values:
    """Log-likelihood: the n = k² rows of a mixed block Y (n, C) are independent N(0, XᵀX / n), X being the block."""
    n, channels = k * k, gallery.shape[3]
    covariances = _products(gallery, k) / (n * WHITE**2) + ROUNDING * np.eye(channels)
    inverses = np.linalg.inv(covariances).reshape(len(gallery), -1)
    observed = _products(targets, k).reshape(len(targets), -1)
    volumes = np.linalg.slogdet(covariances)[1].sum(axis=1)
    return np.asarray(-(n * volumes + observed @ inverses.T) / 2)


def _products(images: Array, k: int) -> Values:
    """XᵀX of every block X (k*k, C), float64 (n, blocks, C, C)."""
    blocks = to_blocks(images, k).astype(np.float64)
    return np.asarray(blocks.transpose(0, 1, 3, 2) @ blocks)


def _gaussian_noise(targets: Array, gallery: Images, k: int, sigma: float) -> Values:
    return -_squared_distances(levels_of_grey(targets), gallery)


def _correlated_noise(targets: Array, gallery: Images, k: int, sigma: float) -> Values:
    """Log-likelihood, less what is the same for all candidates: the distance after whitening the noise.

    The noise is S·white·Sᵀ for each colour, S smoothing one axis, and what float16 rounds away. In the eigenvectors U
    of SSᵀ both are uncorrelated.
    """
    row = kernel(k).sum(axis=0)
    smooth = cv2.filter2D(np.eye(gallery.shape[1]), cv2.CV_64F, row[:, None])
    powers, vectors = np.linalg.eigh(smooth @ smooth.T)
    strength = (sigma / float((row**2).sum())) ** 2 * np.multiply.outer(powers, powers).clip(min=0)
    scale = 1 / np.sqrt(strength + ROUNDING * WHITE**2)

    def whitened(images: Array) -> Values:
        planes = levels_of_grey(images).transpose(0, 3, 1, 2).astype(np.float64)
        return np.asarray(vectors.T @ planes @ vectors * scale)

    return -_squared_distances(whitened(targets), whitened(gallery)) / 2


# What each keyed method's candidates are asked: targets, gallery, k and sigma to float64 (T, G).
_KEYED: dict[str, Callable[[Array, Images, int, float], Values]] = {
    "block_scramble": _block_scramble,
    "random_filter": _random_filter,
    "block_mix": _block_mix,
    "gaussian_noise": _gaussian_noise,
    "correlated_noise": _correlated_noise,
}


def _squared_distances(targets: NDArray[Any], gallery: NDArray[Any]) -> Values:
    """|t - g|² for all pairs, (T, G); in float64, where sums of squared levels are exact."""
    t, g = (values.reshape(len(values), -1) for values in (targets, gallery))
    out = np.zeros((len(t), len(g)))
    step = max(1, CHUNK_VALUES // max(len(t), len(g)))  # of values compared at a time, so that memory stays bounded
    for first in range(0, t.shape[1], step):
        one, other = (values[:, first : first + step].astype(np.float64) for values in (t, g))
        out += (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * (one @ other.T)
    return out


def _check(images: Array, gallery: Images) -> None:
    if images.ndim != 4 or images.shape[1:] != gallery.shape[1:] or gallery.dtype != np.uint8 or not len(gallery):
        raise PrivpipeError(
            f"the gallery must be uint8 pictures of the targets' shape {images.shape[1:]}; got {gallery.dtype} "
            f"{gallery.shape}. Resize or convert them."
        )
