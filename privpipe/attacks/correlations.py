"""Undo a block scramble that all images share, from the correlations between pixels alone.

    from privpipe.attacks.correlations import attack
    recovered = attack(stolen, k=4, public=public)

What it assumes: `block_scramble` under `scope: dataset`, with a k that the file's header tells. Level L0: the adversary
has nothing but the perturbed images. Level L1: they also have public images of the same kind, disjoint from the
owner's. No key and no known pair at either level.

Two things survive a permutation that is the same for all images: the mean of every block, and which pixels go
together. With z = artanh of a correlation over the images,

1.  the signature of a pixel is s(i) = [z(pixel i, mean of block c)], for all blocks c and each colour alone. A true
    position has the signature t(j), measured on public images. The permutation of a block is the linear assignment
    that minimises the sum of |s(i) - t(j)|², which is the one that maximises the sum of s(i)·t(j);
2.  with all pixels placed, s(i) becomes [z(pixel i, placed pixel q)] for all q of other blocks, and t(j) the same of
    public images; assign again until nothing changes.

Fisher's z is what makes few images enough: it has about the same sampling error for all correlations, 1/sqrt(N - 3),
while a plain correlation has a far smaller one near 1, where neighbours differ.

Each signature t(j) is taken less its own mean. How strongly a pixel goes with all others differs between the middle
of an image and its borders, which no model of distances knows and few public images tell; what differs from one
far pixel to the next is what tells a position.

Without public images, a model takes their place: two pixels at distance d correlate as R(d) = (1 - c)·exp(-d/L) + c,
with c and L fitted to the correlations averaged over pairs of blocks, which no permutation changes. It finds whole
blocks up to k = 8 on CIFAR-10 (`benchmarks/correlation_attack.py`). At k = 16 it puts most pixels near their place
rather than on it, and `confidence` says so. Measuring R anew on what was solved, for each displacement apart, and
solving again makes the answer worse, for it confirms its own errors: what comes of it serves the `confidence` alone.

Square images of more than 32×32 pixels are cut into windows of whole blocks, each attacked alone: with the pixels of
four blocks each way a block's order shows, and memory does not grow with the square of the pixels.

The attack is our own. That block-wise encryption with pixel shuffling gives images away was shown before, by another
way: Chuman and Kiya, "A jigsaw puzzle solver-based attack on block-wise image encryption for privacy-preserving DNNs"
(2022, arXiv:2211.02369).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, minimize_scalar

from privpipe.attacks.moments import Sums, parts_of
from privpipe.attacks.prefixes import MOST_PIXELS, Prefixes
from privpipe.attacks.windows import side_for_blocks, windows
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images, to_blocks
from privpipe.perturb.distances import centred, faster_in_8_bits
from privpipe.perturb.values import ROUNDING_OF_INTEGERS, Floats

Permutations = NDArray[np.int32]

# Correlation matrices of 64x64 pixels in three colours take 200 MB each, and about ten of them are alive at once.
MAX_PIXELS = 64 * 64
MIN_IMAGES = 4  # two in each half
MAX_ROUNDS = 10  # of refinement; three are usual
CEILING = 0.9999  # of a correlation: artanh(1) is infinite


@dataclass(frozen=True)
class Recovered:
    """What the attack believes the key's permutations to be, and how far it can be believed.

    Args:
        permutations: int32 (blocks, k*k), as `BlockScramble.permutations`: pixel j of block b of a perturbed image
            comes from pixel `permutations[b, j]`. `BlockScramble.invert` takes them.
        agreement: 0..1, fraction of pixels that the attack puts in the same place from either half of the stolen
            images, corrected for chance. The halves share no image, so this is 0 where there is no one permutation to
            find (`scope: image`, noise) and a cautious estimate of the fraction that is right where there is one.
            Without public images one half is compared with the model and the other with the correlations by
            displacement that the first one's answer shows, so that an answer which depends on the model counts as none.
        match: 0..1, fraction of what the placed pixels' correlations have beyond those of whole blocks that is as
            expected of true images (a squared correlation), corrected for the sampling error of the stolen images:
            that of pairs across blocks times that of pairs within blocks, which play no part in the search. It is
            low where something reproducible was found that is no image, as with a k below the true one. Against a
            model it is lower throughout: natural images are not quite as it says.
    """

    permutations: Permutations
    agreement: float
    match: float

    @property
    def confidence(self) -> float:
        """0..1: `agreement` times `match`. Both must hold: reproducible, and what images look like."""
        return self.agreement * self.match


def attack(stolen: Images, k: int, public: Images | None = None, shared: "Shared | None" = None) -> Recovered:
    """Recover the permutations of a block scramble with `scope: dataset`.

    The result depends on nothing but the arguments. Time goes into products of 2·C·N·(H·W)² operations; memory is
    about ten float32 arrays (C, H*W, H*W), whatever the number of images; H·W is that of a window.

    Args:
        stolen: perturbed images, uint8 (N, H, W, C), N at least 4.
        k: the block size, at least 2; divides height and width.
        public: unperturbed images of other images, uint8 (M, H, W, C), M at least 4 (level L1); None for
            level L0, which fits the correlation model and needs more stolen images.
        shared: what a call leaves for others on the same images, or on the first of them, with the same k.

    Raises:
        PrivpipeError: an array is not as described, or k does not fit.
    """
    _check(stolen, "stolen images")
    _, height, width, _ = stolen.shape
    if k < 2 or height % k or width % k:
        allowed = [d for d in range(2, min(height, width) + 1) if height % d == 0 and width % d == 0]
        raise PrivpipeError(
            f"k must be at least 2 and divide the image size {height}x{width}; got {k}. Use one of {allowed}."
        )
    if public is not None:
        _check(public, "public images")
        if public.shape[1:] != stolen.shape[1:]:
            raise PrivpipeError(
                f"public images must have the shape of the stolen ones, {stolen.shape[1:]}; got {public.shape[1:]}. "
                "Resize or convert them."
            )
    shape = (height, width)
    if height == width and (side := side_for_blocks(height, k)) < height:
        return _in_windows(stolen, k, public, side)
    shared = Shared(k) if shared is None else shared
    sums = shared.stolen.halves(stolen)
    whole = (sums[0] + sums[1]).covariances()
    expected, target = _expected(_model(whole, shape, k), k) if public is None else shared.of_public(public)
    permutations = _solve(_View.of(whole, k), target)
    del whole
    halves = [_View.of(part.covariances(), k) for part in sums]
    del sums, shared
    first = _solve(halves[0], target)
    if public is None:
        target = _Target.of(_View.of(_by_displacement(halves[0], first, shape, k), k))
    second = _solve(halves[1], target)
    del target
    chance = 1 / (k * k)
    agreement = max(0.0, (float((first == second).mean()) - chance) / (1 - chance))
    return Recovered(permutations, agreement, _match(halves, permutations, expected))


def _in_windows(stolen: Images, k: int, public: Images | None, side: int) -> Recovered:
    """As `attack`, a window of whole blocks at a time; agreement and match are the means over the windows."""
    size = stolen.shape[1]
    permutations = np.empty(((size // k) ** 2, k * k), np.int32)
    trusts = []
    for window in windows(size, side, k):
        part = attack(window.of(stolen), k, None if public is None else window.of(public))
        permutations[window.blocks(size, k)] = part.permutations
        trusts.append((part.agreement, part.match))
    return Recovered(permutations, *(float(trust) for trust in np.mean(trusts, axis=0)))


def _sums(images: Images, k: int) -> Sums:
    """Sums over images (N, H, W, C), pixels block by block as `to_blocks` orders them, about the middle of the range.

    Products are summed in float32; those of a part are exact where the processor is made for products of 8 bits.
    """
    _, height, width, channels = images.shape
    size = height * width
    exact = faster_in_8_bits(len(images) * channels * size**2)

    def values(part: Images) -> Array:
        pixels = to_blocks(part, k).reshape(-1, size, channels).transpose(2, 0, 1)
        whole = centred(np.ascontiguousarray(pixels))
        return whole if exact else whole.astype(np.float32)

    return Sums.of(map(values, parts_of(images)), np.float32)


@dataclass(frozen=True)
class _View:
    """Fisher's z of the correlations of each pixel, C colours apart."""

    means: Floats  # with the means of all blocks, (C, blocks, k*k, blocks)
    pixels: Floats  # with all pixels, (C, P, P)

    @classmethod
    def of(cls, covariances: Floats, k: int) -> "_View":
        colours, size, _ = covariances.shape
        n = k * k
        blocks = size // n
        # A block's mean is linear in its pixels, so its covariances are means of those.
        with_means = covariances.reshape(colours, size, blocks, n).mean(axis=3)
        between = with_means.reshape(colours, blocks, n, blocks).mean(axis=2)
        scale = _inverse_deviation(covariances)
        means = with_means * scale[:, :, None] * _inverse_deviation(between)[:, None, :]
        pixels = covariances * scale[:, :, None] * scale[:, None, :]
        return cls(_fisher(means).reshape(colours, blocks, n, blocks), _fisher(pixels))


@dataclass(frozen=True)
class _Target:
    """What true positions are expected to show, each less its mean and what its block shares; C is 1 for a model."""

    means: Floats  # (C, blocks, k*k, blocks)
    pixels: Floats  # (C, blocks, k*k, P), 0 for pixels of the same block: their order is what is being sought

    @classmethod
    def of(cls, view: _View) -> "_Target":
        return cls(_contrasts(view.means), _across(view.pixels, view.means.shape[1]))


def _expected(covariances: Floats, k: int) -> tuple[_View, _Target]:
    view = _View.of(covariances, k)
    return view, _Target.of(view)


class Shared:
    """What calls of `attack` with the same k share: sums over stolen images, and what public images lead to expect."""

    def __init__(self, k: int):
        self.k, self.stolen = k, Prefixes(partial(_sums, k=k))
        self._public: Images | None = None

    def of_public(self, images: Images) -> tuple[_View, _Target]:
        """Computed anew for another array; kept like the sums, for images that are not large."""
        if images is not self._public:
            expected = _expected(_sums(images, self.k).covariances(), self.k)
            if images[0, :, :, 0].size > MOST_PIXELS:
                return expected
            self._public, self._known = images, expected
        return self._known


def _solve(view: _View, target: _Target) -> Permutations:
    """Steps 1 and 2 of the module's description."""
    colours, blocks, n, _ = view.means.shape
    permutations = _assign(view.means, target.means)
    if blocks == 1:  # no other pixels to compare with
        return permutations
    for _ in range(MAX_ROUNDS):
        # z is symmetric, and whole rows are copied many times as fast as single values of each.
        placed = view.pixels[:, _sources(permutations)].reshape(colours, blocks * n, blocks, n).transpose(0, 2, 3, 1)
        before, permutations = permutations, _assign(placed, target.pixels)
        if np.array_equal(before, permutations):
            break
    return permutations


def _assign(observed: Floats, expected: Floats) -> Permutations:
    """For each block the permutation with the largest sum of products; both are (C, blocks, k*k, features)."""
    gains = (observed @ expected.swapaxes(2, 3)).sum(axis=0)
    return np.stack([linear_sum_assignment(gain, maximize=True)[1] for gain in gains]).astype(np.int32)


def _match(halves: list[_View], permutations: Permutations, expected: _View) -> float:
    """See `Recovered.match`."""
    sources, blocks = _sources(permutations), len(permutations)
    placed = [half.pixels[:, sources][:, :, sources] for half in halves]
    fractions = (_explained(*(pairs(z, blocks) for z in (*placed, expected.pixels))) for pairs in (_across, _within))
    return math.prod(fractions)


def _explained(one: Floats, other: Floats, expected: Floats) -> float:
    """Squared correlation (<A + B, T> / 2)² / (<A, B>·<T, T>) of two measurements and what is expected.

    The sampling errors of A and B are independent, so <A, B> is free of them. T may have a single colour.
    """
    colours = len(one)
    expected = np.broadcast_to(expected, one.shape)

    def inner(a: Floats, b: Floats) -> float:
        """A colour at a time, so that no product of whole arrays is held."""
        return sum(float((a[c] * b[c]).sum(dtype=np.float64)) for c in range(colours))

    signal, strength = inner(one, other), inner(expected, expected)
    if signal <= 0 or strength <= 0:
        return 0.0
    common = (inner(one, expected) + inner(other, expected)) / 2
    return min(1.0, max(0.0, common) ** 2 / (signal * strength))


def _model(covariances: Floats, shape: tuple[int, int], k: int) -> Floats:
    """The fitted R(d) of the module's description as covariances (1, P, P) of a single colour."""
    n = k * k
    blocks = shape[0] * shape[1] // n
    distance = np.hypot(*(axis.astype(np.float32) for axis in _displacements(shape, k)))

    def between_blocks(matrix: Floats) -> NDArray[Any]:
        return np.asarray(matrix.reshape(blocks, n, blocks, n).mean(axis=(1, 3)))

    def decay(log_length: float) -> NDArray[Any]:
        return np.asarray(np.exp(-distance / np.float32(np.exp(log_length))))

    scale = _inverse_deviation(covariances)
    observed = between_blocks((covariances * scale[:, :, None] * scale[:, None, :]).mean(axis=0))

    def fit(log_length: float) -> tuple[float, float]:
        """The best c for this length, and the squared error left; the model is linear in c."""
        short = between_blocks(decay(log_length))
        far = 1 - short
        c = float(((observed - short) * far).sum() / (far**2).sum())
        return c, float(((observed - short - c * far) ** 2).sum())

    longest = float(np.log(max(shape)))
    log_length = float(minimize_scalar(lambda length: fit(length)[1], bounds=(-1.0, longest), method="bounded").x)
    c = np.float32(fit(log_length)[0])
    return ((1 - c) * decay(log_length) + c)[None]


def _by_displacement(view: _View, permutations: Permutations, shape: tuple[int, int], k: int) -> Floats:
    """Correlations (C, P, P) that depend on nothing but how far apart two pixels are, in rows and in columns.

    Each is the mean over the pairs of placed pixels of different blocks; distances without such a pair get 0.
    """
    sources = _sources(permutations)
    correlations = np.tanh(view.pixels[:, sources][:, :, sources])
    rows, columns = _displacements(shape, k)
    bins = rows * shape[1] + columns
    block = np.arange(bins.shape[0]) // (k * k)
    apart = block[:, None] != block
    pairs = np.bincount(bins[apart], minlength=bins.size).clip(min=1)
    for colour in correlations:
        means = np.bincount(bins[apart], colour[apart], minlength=bins.size) / pairs
        means[0] = 1  # a pixel with itself
        colour[:] = means[bins]
    return np.asarray(correlations)


def _displacements(shape: tuple[int, int], k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns between two pixels of an image, block by block, int64 (P, P) each, at least 0."""
    height, width = shape
    places = to_blocks(np.arange(height * width).reshape(1, height, width, 1), k).ravel()
    y, x = np.divmod(places, width)
    return np.abs(y[:, None] - y), np.abs(x[:, None] - x)


def _contrasts(z: Floats) -> Floats:
    """z (C, blocks, k*k, features) less each pixel's mean over the features, then less each feature's in its block."""
    contrasts = z - z.mean(axis=3, keepdims=True)
    contrasts -= contrasts.mean(axis=2, keepdims=True)
    return np.asarray(contrasts)


def _across(pixels: Floats, blocks: int) -> Floats:
    """`_contrasts` of z (C, P, P) with the pixels of other blocks as features, 0 within blocks: (C, blocks, k*k, P)."""
    colours, size, _ = pixels.shape
    n = size // blocks
    across = pixels.reshape(colours, blocks, n, size).copy()

    def clear_blocks() -> None:
        for block in range(blocks):
            across[:, block, :, block * n : (block + 1) * n] = 0

    clear_blocks()
    across -= across.sum(axis=3, keepdims=True) / max(1, size - n)
    across -= across.mean(axis=2, keepdims=True)
    clear_blocks()
    return across


def _within(pixels: Floats, blocks: int) -> Floats:
    """z (C, P, P) of the pairs of pixels of a block, less the mean of the block: (C, blocks, pairs)."""
    colours, size, _ = pixels.shape
    tiles = pixels.reshape(colours, blocks, size // blocks, blocks, size // blocks)
    one, other = np.triu_indices(size // blocks, 1)
    pairs = np.stack([tiles[:, block, one, block, other] for block in range(blocks)], axis=1)
    return np.asarray(pairs - pairs.mean(axis=2, keepdims=True))


def _sources(permutations: Permutations) -> NDArray[np.int64]:
    """(P,): where in a perturbed image, block by block, each true position is found."""
    blocks, n = permutations.shape
    return np.asarray((np.arange(blocks)[:, None] * n + np.argsort(permutations, axis=1)).ravel())


def _inverse_deviation(covariances: Floats) -> Floats:
    """(C, P) from (C, P, P)."""
    variances = np.diagonal(covariances, axis1=1, axis2=2) + np.float32(ROUNDING_OF_INTEGERS)
    inverse: Floats = np.reciprocal(np.sqrt(variances))
    return inverse


def _fisher(correlations: Floats) -> Floats:
    """artanh, in place."""
    np.clip(correlations, -CEILING, CEILING, out=correlations)
    return np.arctanh(correlations, out=correlations)


def _check(images: Images, what: str) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) < MIN_IMAGES or images.size == 0:
        raise PrivpipeError(
            f"{what} must be uint8 (N, H, W, C) with N at least {MIN_IMAGES}; got {images.dtype} {images.shape}. "
            "Pass what block_scramble writes."
        )
    if images.shape[1] * images.shape[2] > MAX_PIXELS and images.shape[1] != images.shape[2]:
        raise PrivpipeError(
            f"{what} that are not square may have {MAX_PIXELS:,} pixels each, since memory grows with their square; "
            f"got {images.shape[1]}x{images.shape[2]}. Cut them to fewer whole blocks and attack each part."
        )
