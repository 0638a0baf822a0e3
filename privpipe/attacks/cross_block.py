"""Undo a block mix that all images share, from the correlations between blocks.

    from privpipe.attacks.cross_block import attack
    recovered = attack(stolen, k=4, public=public)

What it assumes: `block_mix` under `scope: dataset`, with a k that the file's header tells, and public images of the
same kind, disjoint from the owner's (level L1). No key and no known pair.

Block b of an image, x_b, becomes y_b = W_b x_b. With M a square root of the covariance of a block, M Mᵀ = Cov, whitened
blocks u_b = M_b⁻¹ (x_b - mean) and v_b, the same of perturbed images, differ by an orthogonal matrix:

    W_b = M^y_b Q_b (M^x_b)⁻¹   and   E[v_a v_bᵀ] = Q_a E[u_a u_bᵀ] Q_bᵀ for every two blocks and each colour.

The left sides are measured on stolen images, E[u_a u_bᵀ] on public ones. So, from Q_b = 0 but for the direction that
the blocks' means show:

1.  with R_a = Σ_b E[v_a v_bᵀ] Q_b E[u_b u_aᵀ], the best Q_a given the others is the orthogonal factor of R_a, U Vᵀ of
    its singular value decomposition (orthogonal Procrustes problem: Schönemann, Psychometrika 31, 1966);
2.  directions that the sampling error still drowns are left out: Q_a = U diag(s² / (s² + error²)) Vᵀ. All at once
    would settle each direction with a sign at random, in patches of agreeing neighbours that never grow together.
    The error is overstated at first and understated at the end (annealing), then U Vᵀ is iterated until it stays;
3.  covariances within a block say something too: the differences between the colours'.

Two things make few images enough. Pixels are taken along the principal axes of colour, where the colours are three
nearly independent witnesses of the same W. And every whitened block is divided by its own root mean square, which no
Q changes: else a few images of high contrast drown the rest. Amplitudes come from plain covariances at the end.

The attack is our own. Whitening and a rotation are the usual two steps of blind source separation; joint statistics
of several data sets with a mixing matrix each are those of independent vector analysis (Kim, Eltoft and Lee, 2006).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.attacks.moments import parts_of, squares
from privpipe.attacks.restoration import Prior, restore
from privpipe.attacks.windows import side_for_blocks, windows
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, Images, to_blocks
from privpipe.perturb.block_mix import BlockMix
from privpipe.perturb.values import Doubles, Floats, pixel_values

# Covariances of 64x64 pixels in three colours take 200 MB each, and about eight of them are alive at once.
MAX_PIXELS = 64 * 64
MIN_IMAGES = 4  # two in each half
CHUNK_VALUES = 2 << 20  # values turned to float64 at a time: 16 MB
FLOOR = 1e-10  # of an eigenvalue, against the largest of its block: keeps pixels that never change finite
STILL = 1e-12  # of a block's mean square: less variance than that is rounding
CONTRAST = 0.2  # mean square of a whitened block (1 on average) from which it is divided by its own
STRICT, LENIENT = 3.0, 1 / 3  # the sampling error is overstated by this at first, and by that at the end
ANNEALING, MAX_ROUNDS = 60, 160  # rounds of iteration
SETTLED = 1e-3  # change of the entries of Q at which to stop


@dataclass(frozen=True)
class Recovered:
    """What the attack believes the key's matrices to be, and how far it can be believed.

    Args:
        matrices: float64 (blocks, k*k, k*k), as `BlockMix.matrices`.
        agreement: 0..1, how far either half of the stolen images leads to the same rotations Q, less the direction of a
            block's mean, which is known at once. The halves share no image, so this is near 0 where there are no
            matrices to find (`scope: image`, noise).
        match: 0..1, fraction of the correlations between stolen blocks that the rotations make out of those of public
            images (a squared correlation, corrected for sampling errors), again less the direction of the mean. It is
            low where something reproducible was found that is no mixing of blocks, as with a k below the true one.
    """

    matrices: Doubles
    agreement: float
    match: float

    @property
    def confidence(self) -> float:
        """0..1: `agreement` times `match`. Both must hold."""
        return self.agreement * self.match


class CrossBlock(Attack):
    """`attack`, then the best linear estimate of the targets under a prior from the public images."""

    name = "cross_block"
    levels = ("L1",)
    seeks_key = True
    order = 30

    def applies(self, method: Perturbation) -> bool:
        return isinstance(method, BlockMix) and method.scope == "dataset"

    def run(self, view: AdversaryView) -> Outcome:
        if view.public is None:
            raise PrivpipeError(f"{self.name} needs public images; got none. Run it at level L1.")
        recovered = attack(view.stolen, view.k, view.public)
        images = restore(
            view.targets,
            view.transformation,
            recovered.matrices,
            Prior.known(view.public, view.transformation, view.channels),
        )
        return Outcome(images, recovered.confidence, recovered.matrices)


def attack(stolen: Array, k: int, public: Images) -> Recovered:
    """Recover the matrices of a block mix with `scope: dataset`.

    The result depends on nothing but the arguments. Time goes into products of 2·C·N·(H·W)² operations and some
    hundreds of 2·C·(H·W)²·k²; memory is about eight float32 arrays (C, H*W, H*W), whatever the number of images. Square
    images of more than 32×32 pixels are cut into windows of whole blocks, each attacked alone; H·W is then a window's.

    Args:
        stolen: perturbed images as stored, float16 or uint8 (N, H, W, C), N at least 4.
        k: the block size, which divides height and width.
        public: unperturbed images of other images, uint8 (M, H, W, C), M at least 4.

    Raises:
        PrivpipeError: an array is not as described, or k does not fit.
    """
    _check(stolen, k, public)
    size = stolen.shape[1]
    if size == stolen.shape[2] and (side := side_for_blocks(size, k)) < size:
        matrices, trusts = np.empty(((size // k) ** 2, k * k, k * k)), []
        for window in windows(size, side, k):
            part = attack(window.of(stolen), k, window.of(public))
            matrices[window.blocks(size, k)] = part.matrices
            trusts.append((part.agreement, part.match))
        return Recovered(matrices, *(float(trust) for trust in np.mean(trusts, axis=0)))
    colours = _colour_axes(public)
    known, seen = _View.of(public, k, colours), _View.of(stolen, k, colours)
    expected = known.halves[0] + known.halves[1]
    start = seen.means @ known.means.swapaxes(1, 2)
    # Each entry of a mean over images has a variance of 1 / their number, in the stolen ones as in the public ones.
    variance, of_half = (1 / len(public) + parts / len(stolen) for parts in (1, 2))
    rotations = _solve(seen.halves[0] + seen.halves[1], expected, start, variance)
    of_halves = [_solve(2 * half, expected, start, of_half) for half in seen.halves]
    matrices = _mixing(seen, known, rotations)
    return Recovered(matrices, _agreement(*of_halves), _match(seen, known, rotations))


def _agreement(one: Doubles, other: Doubles) -> float:
    """`Recovered.agreement` of rotations (blocks, n, n): 0 where they share one direction, 1 where they are equal."""
    n = one.shape[-1]
    alike = float((one * other).sum(axis=(1, 2)).mean())
    return min(1.0, max(0.0, (alike - 1) / (n - 1) if n > 1 else alike))


def _mixing(seen: "_View", known: "_View", rotations: Doubles) -> Doubles:
    """The key's matrices (blocks, n, n) that follow from the rotations of whitened blocks."""
    matrices = seen.roots @ rotations @ np.linalg.inv(known.roots)
    # The nearest matrices that turn the plain covariances into each other: those tell amplitudes better.
    left, _, right = np.linalg.svd(np.linalg.solve(seen.plain_roots, matrices @ known.plain_roots))
    return np.asarray(seen.plain_roots @ (left @ right) @ np.linalg.inv(known.plain_roots))


@dataclass(frozen=True)
class _View:
    """Whitened blocks of a set of images and their second moments. P counts pixels block by block, as `to_blocks`.

    Args:
        means: the mean of each block, whitened, (blocks, k*k, C).
        plain_roots: square roots of the blocks' covariances, averaged over colours, (blocks, k*k, k*k).
        roots: the same of blocks divided by their root mean square.
        halves: half the mean of v_a v_bᵀ over either half of the images, (C, P, P); within a block less its
            mean over colours. Their sum is the mean over all images.
    """

    means: Doubles
    plain_roots: Doubles
    roots: Doubles
    halves: tuple[Floats, Floats]

    @classmethod
    def of(cls, images: Array, k: int, colours: Doubles) -> "_View":
        mean, covariances = _block_moments(images, k, colours)
        plain = _root(covariances)
        whiten = np.asarray(np.linalg.inv(plain))
        whiten[_still(mean, covariances)] = 0  # else rounding would be whitened to something that both halves share
        first, second = (_contrast_moments(images[i::2], k, colours, mean, whiten) for i in (0, 1))
        blocks, n = whiten.shape[:2]
        tiles = (first + second).reshape(-1, blocks, n, blocks, n)
        within = np.stack([tiles[:, block, :, block].mean(axis=0) for block in range(blocks)])
        del tiles
        again = _root(within.astype(np.float64))
        for half in (first, second):
            _transform(half, np.asarray(np.linalg.inv(again)))
            tiles = half.reshape(-1, blocks, n, blocks, n)
            for block in range(blocks):
                tiles[:, block, :, block] -= tiles[:, block, :, block].mean(axis=0)
        roots = plain @ again
        return cls(np.asarray(np.linalg.solve(roots, mean)), plain, roots, (first, second))


def _solve(observed: Floats, expected: Floats, start: Doubles, variance: float) -> Doubles:
    """The iteration of the module's description: the rotations (blocks, k*k, k*k).

    Args:
        observed, expected: moments of stolen and of public images, (C, P, P).
        start: what the means say of the rotations, of any scale.
        variance: of an entry of `observed` about the rotated `expected`.
    """
    blocks, n, _ = start.shape
    rotations: Doubles = start / np.maximum(np.linalg.norm(start, 2, axis=(1, 2)), 1e-300)[:, None, None]
    energy = (expected**2).sum(axis=(0, 1), dtype=np.float64).reshape(blocks, n).sum(axis=1)
    error = np.sqrt(variance * energy / n)
    for turn in range(MAX_ROUNDS):
        targets = _targets(observed, expected, rotations)
        left, strengths, right = np.linalg.svd(targets)
        kept = np.ones_like(strengths)
        if turn < ANNEALING:
            factor = STRICT * (LENIENT / STRICT) ** (turn / ANNEALING)
            noise = n * (factor * error[:, None]) ** 2
            kept = strengths**2 / np.maximum(strengths**2 + noise, 1e-300)
        before, rotations = rotations, (left * kept[:, None]) @ right
        if turn > ANNEALING and np.abs(rotations - before).max() < SETTLED:
            break
    return rotations


def _match(seen: _View, known: _View, rotations: Doubles) -> float:
    """See `Recovered.match`: <A, B>² / (<A, A>·<B, B>), A and B the moments of stolen and of public images.

    The halves of either set share no sampling error, so their product stands for that of the moments with themselves.
    """
    n = rotations.shape[1]
    beyond = np.broadcast_to(np.eye(n), rotations.shape)
    if n > 1:
        direction = known.means[:, :, :1] / np.maximum(np.linalg.norm(known.means[:, :, :1], axis=1), 1e-300)[:, None]
        beyond = beyond - direction @ direction.swapaxes(1, 2)
    sets = []
    for view, maps in ((seen, beyond @ rotations.swapaxes(1, 2)), (known, beyond)):
        halves = [half.copy() for half in view.halves]
        for half in halves:
            _transform(half, maps)
        sets.append(halves)
    signals = [_inner(*halves) for halves in sets]
    common = _inner(sets[0][0] + sets[0][1], sets[1][0] + sets[1][1]) / 4
    return min(1.0, common**2 / (signals[0] * signals[1])) if min(common, *signals) > 0 else 0.0


def _targets(observed: Floats, expected: Floats, rotations: Doubles) -> Doubles:
    """R_a of the module's description for every block, (blocks, k*k, k*k), summed over colours."""
    blocks, n, _ = rotations.shape
    size = blocks * n
    targets = np.zeros((blocks, n, n))
    for seen, known in zip(observed, expected, strict=True):
        turned = seen.reshape(size, blocks, n).transpose(1, 0, 2) @ rotations.astype(np.float32)
        rows = turned.reshape(blocks, blocks, n, n).transpose(1, 2, 0, 3).reshape(blocks, n, size)
        targets += rows @ known.reshape(size, blocks, n).transpose(1, 0, 2)
    return targets


def _block_moments(images: Array, k: int, colours: Doubles) -> tuple[Doubles, Doubles]:
    """Means (blocks, k*k, C), and covariances within blocks averaged over the C colours, (blocks, k*k, k*k)."""
    n, channels = k * k, images.shape[3]
    blocks = images.shape[1] * images.shape[2] // n
    mean = sum(chunk.sum(axis=2) for chunk in _chunks(images, k, colours)) / len(images)
    products = squares(chunk.reshape(blocks, n, -1).swapaxes(1, 2) for chunk in _chunks(images, k, colours))
    return mean, (products / len(images) - mean @ mean.swapaxes(1, 2)) / channels


def _contrast_moments(images: Array, k: int, colours: Doubles, mean: Doubles, whiten: Doubles) -> Floats:
    """Half the mean of products of whitened blocks, each divided by its root mean square, (C, P, P)."""
    blocks, n, channels = mean.shape

    def contrasts(chunk: Doubles) -> Floats:
        """(C, count, P)."""
        centred = chunk - mean[:, :, None]
        white = (whiten @ centred.reshape(blocks, n, -1)).reshape(chunk.shape)
        white /= np.sqrt((white**2).mean(axis=(1, 3), keepdims=True) + CONTRAST)
        flat = white.transpose(3, 0, 1, 2).reshape(channels, blocks * n, -1).astype(np.float32)
        return flat.swapaxes(1, 2)

    products = squares(map(contrasts, _chunks(images, k, colours)), np.float32)
    return np.asarray(products / np.float32(2 * len(images)))


def _chunks(images: Array, k: int, colours: Doubles) -> Iterator[Doubles]:
    """Some images at a time, in the given components of colour: (blocks, k*k, count, C)."""
    for part in parts_of(images, CHUNK_VALUES):
        yield np.ascontiguousarray(to_blocks(pixel_values(part) @ colours, k).transpose(1, 2, 0, 3))


def _colour_axes(public: Images) -> Doubles:
    """(C, C): columns make uncorrelated components of variance 1 from the colours of a pixel, the strongest first."""
    mean = public.mean(axis=(0, 1, 2), dtype=np.float64)
    products = squares(part.reshape(-1, len(mean)) - mean for part in parts_of(public, CHUNK_VALUES))
    values, axes = np.linalg.eigh(products / (public.size / len(mean)))
    return np.asarray((axes / np.sqrt(np.maximum(values, FLOOR * values[-1] + 1e-12)))[:, ::-1])


def _root(covariances: Doubles) -> Doubles:
    """Symmetric square roots of (blocks, n, n), the smallest eigenvalues raised so that they have an inverse."""
    values, axes = np.linalg.eigh(covariances)
    values = np.maximum(values, FLOOR * values[:, -1:] + 1e-12)
    return np.asarray((axes * np.sqrt(values)[:, None]) @ axes.swapaxes(1, 2))


def _still(mean: Doubles, covariances: Doubles) -> NDArray[np.bool_]:
    """Which blocks never change, (blocks,), from what `_block_moments` gives."""
    variance = np.trace(covariances, axis1=1, axis2=2) / covariances.shape[1]
    return np.asarray(variance <= STILL * np.square(mean).mean(axis=(1, 2)))


def _transform(moments: Floats, maps: Doubles) -> None:
    """Moments (C, P, P) of blocks b become those of maps[b] (n, n) times the blocks, in place."""
    blocks, n, _ = maps.shape
    size = blocks * n
    single = maps.astype(np.float32)
    for one in moments:
        rows = (single @ one.reshape(blocks, n, size)).reshape(size, size)
        one[:] = (single @ rows.T.reshape(blocks, n, size)).reshape(size, size).T


def _inner(one: Floats, other: Floats) -> float:
    return float(sum((a * b).sum(dtype=np.float64) for a, b in zip(one, other, strict=True)))


def _check(stolen: Array, k: int, public: Images) -> None:
    if stolen.dtype not in (np.float16, np.uint8) or stolen.ndim != 4 or len(stolen) < MIN_IMAGES or not stolen.size:
        raise PrivpipeError(
            f"stolen images must be float16 or uint8 (N, H, W, C) with N at least {MIN_IMAGES}; got {stolen.dtype} "
            f"{stolen.shape}. Pass what block_mix writes."
        )
    if public.dtype != np.uint8 or public.ndim != 4 or len(public) < MIN_IMAGES or public.shape[1:] != stolen.shape[1:]:
        raise PrivpipeError(
            f"public images must be uint8 (M, H, W, C) with M at least {MIN_IMAGES} and the shape of the stolen ones, "
            f"{stolen.shape[1:]}; got {public.dtype} {public.shape}. Resize or convert them."
        )
    height, width = stolen.shape[1:3]
    if height * width > MAX_PIXELS and height != width:
        raise PrivpipeError(
            f"images that are not square may have {MAX_PIXELS:,} pixels each, since memory grows with their square; "
            f"got {height}x{width}. Cut them to fewer whole blocks and attack each part."
        )
    if k < 1 or height % k or width % k:
        allowed = [d for d in range(1, min(height, width) + 1) if height % d == 0 and width % d == 0]
        raise PrivpipeError(f"k must divide the image size {height}x{width}; got {k}. Use one of {allowed}.")
