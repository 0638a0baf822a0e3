"""Invert blur or pixelation by gradient descent, with a prior that knows edges.

The linear estimate of `wiener` takes images for Gaussian. They are not: their gradients are mostly small and
sometimes large. The most probable image x for a perturbed image y = K x + rounding minimises

    |K x - y|² / (2·r) + a·(x - m)ᵀ S⁻¹ (x - m) / 2 + sum over pixels and components c of b_c·sqrt(|grad x_c|² + d²)

within 0..255, r the variance of rounding, m and S those of public images. It is convex, and found by accelerated
projected gradient descent from the linear estimate, stopped after a fixed number of steps. Level L1: the public images.

Sources: the edge-preserving penalty is total variation (Rudin, Osher and Fatemi, "Nonlinear total variation based noise
removal algorithms", Physica D, 1992), smoothed at zero; the descent is FISTA (Beck and Teboulle, "A fast iterative
shrinkage-thresholding algorithm for linear inverse problems", SIAM Journal on Imaging Sciences, 2009). To weigh a
Gaussian and a sparse prior against each other is our own choice. The confidence is that of `wiener`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.attacks.restoration import WHITE, Prior, restore
from privpipe.attacks.wiener import confidence
from privpipe.attacks.windows import Window, windows
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.values import ROUNDING_OF_INTEGERS, Array, Doubles, Floats, pixel_values

# a, b of luminance and of chroma, and d in grey levels: tuned in a few trials on 60 training images of CIFAR-10.
GAUSSIAN = 0.6
LUMINANCE, CHROMA = 0.03, 0.09
EDGE = 1.0
STEPS = 150
CHUNK_VALUES = 128 * 32 * 32 * 3  # values of images that are restored at a time


class GradientInversion(Attack):
    """See the module. Reconstructions of the targets; no key."""

    name = "gradient_inversion"
    levels = ("L1",)
    order = 80

    def applies(self, method: Perturbation) -> bool:
        return method.operator_without_key and method.axis_operator() is not None and method.noise_covariance() is None

    def run(self, view: AdversaryView) -> Outcome:
        if view.public is None:
            raise PrivpipeError("gradient_inversion needs public images. Run it at level L1 or above.")
        method = view.transformation
        prior = Prior.known(view.public, method, view.channels)
        axis = method.axis_operator()
        if axis is None:
            raise PrivpipeError(f"gradient_inversion needs the operator of one axis, and {method.name} gives none.")
        linear = restore(view.targets, method, None, prior)
        repeated = len(prior.mean) ** 2 // replace(method, image_size=len(prior.mean)).operator(None).shape[0]
        energy = _Energy(axis, ROUNDING_OF_INTEGERS * repeated, prior)
        step = max(1, CHUNK_VALUES // view.targets[0].size)
        for start in range(0, len(linear), step):
            rows = slice(start, start + step)
            linear[rows] = _interleaved(
                _minimise(energy, _planes(linear[rows]), _planes(pixel_values(view.targets[rows])))
            )
        return Outcome(linear, confidence(view, prior))


@dataclass(frozen=True)
class _Mirrored:
    """Matrices (C, P, P) of the pixels of windows that no mirror image changes, as those of `Prior` are.

    What is even and what is odd under the mirror stay apart, so that two products of a half each do for one.

    Args:
        even, odd: (C, P', P'), on the pixels of the left half, the middle column included.
    """

    even: Floats
    odd: Floats

    @classmethod
    def of(cls, matrices: Doubles, side: int) -> "_Mirrored":
        half = side - side // 2
        left = matrices.reshape(-1, side, side, side, side)[:, :, :half]
        same, other = left[..., :half], left[..., ::-1][..., :half]
        even, odd = same + other, same - other
        even[..., side // 2 : half] /= 2  # a middle column is its own mirror image
        pixels = (-1, side * half, side * half)
        return cls(even.reshape(pixels).astype(np.float32), odd.reshape(pixels).astype(np.float32))

    def times(self, windows: Floats) -> Floats:
        """The matrices times windows (C, ..., side, side), of the same shape."""
        side = windows.shape[-1]
        half = side - side // 2
        same, other = windows[..., :half], windows[..., ::-1][..., :half]
        flat = (len(windows), -1, side * half)
        # The matrices are symmetric but for the halved middle, so they stand to the left.
        even, odd = (
            (matrix @ part.reshape(flat).swapaxes(1, 2)).swapaxes(1, 2).reshape(same.shape)
            for matrix, part in ((self.even, (same + other) / 2), (self.odd, (same - other) / 2))
        )
        out = np.empty_like(windows)
        out[..., ::-1][..., :half] = even - odd
        out[..., :half] = even + odd
        return out


class _Energy:
    """What is minimised, for images in planes of colour (T, C, H, W), H = W.

    Args:
        axis: float32 (H, H), the operator along one axis; it acts on the other in the same way.
        noise: variance of an observed value, squared grey levels, times how often the image repeats it.
        prior: mean and covariances of images, or of the windows that they are cut into.
    """

    def __init__(self, axis: Floats, noise: float, prior: Prior) -> None:
        side = len(prior.mean)
        self.windows = windows(len(axis), side)
        covered = 4 if len(axis) % side else 1  # windows that hold a pixel, at most
        self.axis, self.noise = axis, np.float32(noise)
        self.mean = np.tensordot(prior.colours, prior.mean, (1, 2)).astype(np.float32)  # of components, (C, h, w)
        self.colours = prior.colours.astype(np.float32)
        precisions = [GAUSSIAN * np.linalg.inv(covariance) for covariance in prior.covariances]
        self.precisions = _Mirrored.of(np.array(precisions), side)
        self.weights = np.full(len(precisions), CHROMA, np.float32)
        self.weights[0] = LUMINANCE
        # Bounds of the second derivative: a sum of squared differences has 8 at most.
        steepest = max(float(np.linalg.eigvalsh(precision)[-1]) for precision in precisions)
        self.curvature = (
            float(np.linalg.norm(axis, 2)) ** 4 / noise + covered * steepest + 8 * float(self.weights.max()) / EDGE
        )

    def gradient(self, images: Floats, observed: Floats) -> Floats:
        residuals = self.axis @ images @ self.axis.T - observed
        components = _rotated(self.colours, images)
        prior = _edges(components, self.weights)
        # All windows of all images in one product: with few rows at a time, precisions would be read for each anew.
        parts = [_window(components, window) - self.mean for window in self.windows]
        slopes = self.precisions.times(np.stack([part.swapaxes(0, 1) for part in parts], axis=1))
        for number, window in enumerate(self.windows):
            part = _window(prior, window)
            part += slopes[:, number].swapaxes(0, 1)
        residuals = self.axis.T @ residuals @ self.axis
        residuals /= self.noise
        residuals += _rotated(self.colours.T, prior)
        return np.asarray(residuals)


def _minimise(energy: _Energy, start: Floats, observed: Floats) -> Floats:
    """FISTA with the projection to 0..255 as its proximal step; the number of steps is fixed."""
    images, ahead, momentum = start, start, 1.0
    step = np.float32(1 / energy.curvature)
    for _ in range(STEPS):
        before, images = images, np.clip(ahead - step * energy.gradient(ahead, observed), 0, np.float32(WHITE))
        last, momentum = momentum, (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = images + np.float32((last - 1) / momentum) * (images - before)
    return images


def _planes(images: Array) -> Floats:
    """Images (T, H, W, C) as planes of colour, (T, C, H, W)."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _interleaved(planes: Floats) -> Floats:
    """What `_planes` was given."""
    return planes.transpose(0, 2, 3, 1)


def _window(planes: Floats, window: Window) -> Floats:
    """The window of planes (T, C, H, W), a view."""
    return planes[:, :, window.top : window.top + window.side, window.left : window.left + window.side]


def _rotated(matrix: Floats, planes: Floats) -> Floats:
    """`matrix` (C, C) times the colours of each pixel of planes (T, C, H, W)."""
    return np.asarray(matrix @ planes.reshape(*planes.shape[:2], -1)).reshape(planes.shape)


def _edges(components: Floats, weights: NDArray[np.float32]) -> Floats:
    """Gradient of the sum of weights·sqrt(|grad|² + d²), by forward differences; (T, C, H, W)."""
    down, right = np.zeros_like(components), np.zeros_like(components)
    np.subtract(components[:, :, 1:], components[:, :, :-1], out=down[:, :, :-1])
    np.subtract(components[..., 1:], components[..., :-1], out=right[..., :-1])
    scale = weights[:, None, None] / np.sqrt(down**2 + right**2 + np.float32(EDGE**2))
    down *= scale
    right *= scale
    gradient = -down - right
    gradient[:, :, 1:] += down[:, :, :-1]
    gradient[..., 1:] += right[..., :-1]
    return gradient
