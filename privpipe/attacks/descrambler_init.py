"""What the BFC layer of a descrambler knows of the scramble before training: nothing, a good guess, or the answer.

Nothing here sees a key, a raw image or a label: the perturbed training set is all there is.

- `learned`: the drawn weights of `privpipe.nn.models.build`; training has to find everything, as in the study.
- `learned_smooth`: `smooth_weights`, a fit by gradients to the prior that images are smooth; they go on training.
- `inferred`: `inferred_weights`, the permutations that `privpipe.attacks.correlations` finds; they stay fixed.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from privpipe.attacks.correlations import CEILING, MAX_PIXELS, attack
from privpipe.errors import PrivpipeError
from privpipe.layers import BlockFullyConnected
from privpipe.networks.descrambler import choice_problem
from privpipe.perturb.linear import block_places
from privpipe.perturb.values import ROUNDING_OF_INTEGERS
from privpipe.store import Header

STEPS = 100  # of the smooth fit
SINKHORN_ROUNDS = 20
RANGE = 1 / 6  # of the smoothness prior, in image sizes: about 5 pixels of 32
CHUNK_VALUES = 4 << 20  # values turned to float32 at a time: 16 MB


def preparation(choice: str, progress: bool = True) -> Callable[[BlockFullyConnected, Tensor, Header], float | None]:
    """`prepare` with a choice, for `privpipe.nn.train_job`: from a layer, perturbed images and their header."""

    def prepared(layer: BlockFullyConnected, images: Tensor, header: Header) -> float | None:
        return prepare(layer, choice, images, header.method, header.scope, progress)

    return prepared


def prepare(
    layer: BlockFullyConnected, choice: str, images: Tensor, method: str, scope: str, progress: bool = True
) -> float | None:
    """Set the weights of `layer` in place, as `choice` says; `inferred` ones ask for no gradient.

    Args:
        choice: `learned` (leaves the layer as it is), `learned_smooth` or `inferred`.
        images: the perturbed training set, uint8 (N, H, W, C) with H = W, on the layer's device.
        method, scope: how it was perturbed.
        progress: show a bar on standard error.

    Returns:
        0..1, how far the attack behind `inferred` believes its answer; None for the other choices.

    Raises:
        PrivpipeError: the choice does not fit the images, or these are too large or too few.
    """
    problem = choice_problem(choice, method, scope, layer.k, images.shape[1])
    if problem is not None:
        raise PrivpipeError(problem)
    if choice == "learned":
        return None
    confidence = None
    if layer.k == 1:  # nothing is permuted
        weights = torch.ones_like(layer.weight)
    elif choice == "inferred":
        weights, confidence = inferred_weights(images, layer.k)
    else:
        weights = smooth_weights(images, layer.k, progress)
    with torch.no_grad():
        layer.weight.copy_(weights)
    layer.weight.requires_grad_(choice != "inferred")
    return confidence


def inferred_weights(images: Tensor, k: int) -> tuple[Tensor, float]:
    """The permutation matrices that undo the scramble as the attack at level L0 sees it: zeros and ones.

    Args:
        images: uint8 (N, H, W, C).

    Returns:
        float32 (blocks, k*k, k*k) as `BlockFullyConnected.weight`, and the attack's confidence.

    Raises:
        PrivpipeError: see `privpipe.attacks.correlations.attack`.
    """
    recovered = attack(images.cpu().numpy(), k)
    permutations = torch.from_numpy(recovered.permutations).long()
    blocks, n = permutations.shape
    # Pixel j of a block belongs where permutations[b, j] says: row permutations[b, j], column j.
    weights = torch.zeros(blocks, n, n).scatter_(1, permutations[:, None], 1.0)
    return weights.to(images.device), recovered.confidence


def smooth_weights(images: Tensor, k: int, progress: bool = True) -> Tensor:
    """Doubly stochastic matrices that make images smooth across the borders of blocks.

    They maximise E(W) = sum of S[p, q] · (W Z Wᵀ)[p, q] over the pixels p, q of different blocks, by gradient ascent:
    a relaxed quadratic assignment. Z is Fisher's z of the correlation of two stored pixels, averaged over the colours;
    S is the prior, exp(-distance / L) less its mean over q. At the uniform start the gradient is how a pixel goes with
    the means of the other blocks: the first step of the correlation attack.

    Each step multiplies W by exp(rate · gradient) and makes it doubly stochastic again (Sinkhorn and Knopp 1967), which
    is mirror ascent with the entropy as its distance (Beck and Teboulle 2003). W sharpens on the way, as under the
    annealing of softassign (Gold and Rangarajan 1996). The objective and its prior are our own.

    Args:
        images: uint8 (N, H, W, C) with H = W.
        k: the block size, from 2 to less than H.

    Returns:
        float32 (blocks, k*k, k*k) as `BlockFullyConnected.weight`; columns sum to 1, rows to about 1.

    Raises:
        PrivpipeError: the images are too large.
    """
    z, prior = _correlations(images, k), _smoothness(images.shape[1], k).to(images.device)
    n, size = k * k, len(z)
    blocks = size // n
    logits = torch.full((blocks, n, n), -math.log(n), device=images.device)
    rate: Tensor | None = None
    for _ in tqdm(range(STEPS), desc="smooth descrambler", unit="step", disable=None if progress else True):
        placed = torch.bmm(logits.exp(), z.view(blocks, n, size))  # W Z
        gradient = torch.bmm(prior.view(blocks, n, size), placed.view(size, blocks, n).transpose(0, 1))
        if rate is None:
            contrasts = gradient - gradient.mean(1, keepdim=True)
            contrasts -= contrasts.mean(2, keepdim=True)
            rate = 1 / contrasts.std().clamp(min=1e-6)  # a first step of size 1; 0 where all pixels are alike
        logits = _sinkhorn(logits + rate * gradient)
    return logits.exp()


def _correlations(images: Tensor, k: int) -> Tensor:
    """Fisher's z (P, P) between the pixels in the order of `to_blocks`, averaged over the colours."""
    count, height, width, channels = images.shape
    size = height * width
    if size > MAX_PIXELS:
        raise PrivpipeError(
            f"model.descrambler=learned_smooth takes images of at most {MAX_PIXELS:,} pixels, since memory grows with "
            f"their square; got {height}x{width}. Set data.image_size=64 or less, or model.descrambler=learned."
        )
    places = torch.from_numpy(block_places(height, k).ravel()).to(images.device)
    sums = torch.zeros(channels, size, dtype=torch.float64, device=images.device)
    products = torch.zeros(channels, size, size, device=images.device)
    for part in torch.split(images, max(1, CHUNK_VALUES // (size * channels))):
        pixels = part.view(-1, size, channels)[:, places].permute(2, 1, 0).float() - 127.5  # (C, P, n)
        sums += pixels.sum(2, dtype=torch.float64)
        products += pixels @ pixels.transpose(1, 2)
    mean = (sums / count).float()
    covariances = products / count - mean[:, :, None] * mean[:, None]
    scale = (covariances.diagonal(dim1=1, dim2=2) + ROUNDING_OF_INTEGERS).rsqrt()
    return (covariances * scale[:, :, None] * scale[:, None]).clamp(-CEILING, CEILING).atanh().mean(0)


def _smoothness(image_size: int, k: int) -> Tensor:
    """The prior S (P, P) of `smooth_weights`, in the order of `to_blocks`; 0 within blocks, rows sum to 0."""
    y, x = (torch.from_numpy(axis).float() for axis in np.divmod(block_places(image_size, k).ravel(), image_size))
    closeness = torch.exp(-torch.hypot(y[:, None] - y, x[:, None] - x) / (RANGE * image_size))
    block = torch.arange(len(y)) // (k * k)
    across = (block[:, None] != block).float()
    closeness *= across
    return closeness - across * closeness.sum(1, keepdim=True) / across.sum(1, keepdim=True)


def _sinkhorn(logits: Tensor) -> Tensor:
    """Logarithms of matrices (blocks, n, n) whose rows and columns are scaled to sum to 1, the columns last."""
    for _ in range(SINKHORN_ROUNDS):
        logits = logits - logits.logsumexp(2, keepdim=True)
        logits = logits - logits.logsumexp(1, keepdim=True)
    return logits
