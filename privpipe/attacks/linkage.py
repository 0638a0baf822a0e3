"""Which image is it? Re-identification of targets among candidate images.

    from privpipe.attacks.linkage import method_similarity
    likeliest = method_similarity(targets, gallery, RandomFilter(32, k=5)).argmax(axis=1)

An adversary who suspects that a perturbed image is one of some images at hand (they were on the web, say) need not
reconstruct anything. `method_similarity` asks of each candidate how likely the perturbed image is if it was made of
this one, whatever the key was: the method is public, and the unknown key is integrated out, or replaced by what no
key changes (`Perturbation.log_likelihood`). Of most methods no other image is used, so it does not matter whether they
share the key; for neuracrypt, and for noise with `scope: dataset`, what the targets share counts too.

| method | what is compared |
|---|---|
| none, gaussian_blur, pixelate | the method's output on the candidate |
| block_scramble | the sorted values of each block and colour, which no permutation changes |
| random_filter | what the best of all k×k kernels leaves unexplained |
| block_mix | log-likelihood: rows of a mixed block are Gaussian with the block's second moments |
| neuracrypt | how alike the patches of an image are, and what one map for all targets makes of them |
| gaussian_noise, correlated_noise | log-likelihood: distance weighted with the inverse covariance of the noise |
| noise that all targets share | the same, the noise taken off by what they differ in |

`image_similarity` compares reconstructions with images and knows nothing of how they were made.

Both are our own compositions of textbook statistics (normalised correlation, least squares, Gaussian likelihoods).
"""

import cv2
import numpy as np

from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images, Perturbation
from privpipe.perturb.values import Floats

COARSE = 8  # height and width of the coarse scale in pixels


def image_similarity(images: Floats, gallery: Images) -> Floats:
    """How much each reconstruction resembles each image, float32 (T, G), at most 2.

    The sum of two normalised correlations over all pixels and colours: of the images as they are, and of both reduced
    to 8×8 by area. The first suffers less under noise, the second under blur and displaced pixels. Neither changes
    with brightness or contrast.

    Args:
        images: reconstructions, float32 (T, H, W, C) in grey levels, of any range.
        gallery: uint8 (G, H, W, C).

    Raises:
        PrivpipeError: the shapes do not fit.
    """
    _check(images, gallery)
    fine = _standardised(images) @ _standardised(gallery).T
    coarse = _standardised(_reduced(images)) @ _standardised(_reduced(gallery)).T
    return np.asarray(fine + coarse, np.float32)


def _reduced(images: Array) -> Floats:
    """(n, H, W, C) by area to (n, 8, 8, C); smaller images stay as they are."""
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


def method_similarity(targets: Array, gallery: Images, method: Perturbation) -> Floats:
    """How likely each target was made of each candidate by `method` with an unknown key, float32 (T, G).

    Values compare within a row only: the highest of each is 0.

    Time is two operations for every target, candidate and number compared; those are H·W·C, and for random_filter k²
    times max(512, 2·k²) but no more than H·W·C: a few seconds for 1,000 by 1,000 images and k up to 7.

    Args:
        targets: perturbed images as stored, uint8 or float16 (T, H, W, C).
        gallery: candidate images, uint8 (G, H, W, C).
        method: the transformation; its own key is not used.

    Raises:
        PrivpipeError: the shapes do not fit, the method has a key and no likelihood, or a kernel is too large.
    """
    if method.features and gallery.ndim == 4 and targets.shape[1:] == method.output_shape(gallery.shape[3]):
        _check(gallery, gallery)
    else:
        _check(targets, gallery)
    similarity = method.log_likelihood(targets, gallery)
    out: Floats = np.empty(similarity.shape, np.float32)
    np.subtract(similarity, similarity.max(axis=1, keepdims=True), out=out, casting="same_kind")
    return out


def _check(images: Array, gallery: Images) -> None:
    if images.ndim != 4 or images.shape[1:] != gallery.shape[1:] or gallery.dtype != np.uint8 or not len(gallery):
        raise PrivpipeError(
            f"the gallery must be uint8 images of the targets' shape {images.shape[1:]}; got {gallery.dtype} "
            f"{gallery.shape}. Resize or convert them."
        )
