"""Find the small kernel that one image was filtered with: the likelihood of kernels, and a search for the likeliest.

    model = KernelLikelihood.of(public, k=5)
    kernels, costs = search(model, filtered, Effort(starts=48, survivors=16, rounds=8), draws)

**The likelihood.** With the kernel w known, its inverse filter gives the image back. Whitened by what the spectra of
public images are, the components of colour of that image are sparse: most values are near zero and a few, at edges, are
large. So with T the transfer function of w, d(p) the two whitened derivatives at pixel p, and n pixels,

    cost(w) = mean of log p(d) over pixels and components, negative, + mean of log |T|² / 2 over frequencies,

where p is Student's distribution of two dimensions, of a scale fitted to each image. The second term is the Jacobian of
the inverse filter: this is the likelihood of the filtered image, as in blind source separation (Pham and Garat, "Blind
separation of mixture of independent sources through a quasi-maximum likelihood approach", IEEE Transactions on Signal
Processing, 1997). It does not depend on gain and sign. Borders are faded out, so that they may be taken for periodic.

**The search.** The cost has many minima: much of the likelihood is of the spectrum, and another kernel may have nearly
the same. Descent is by natural gradient (Amari, "Natural gradient works efficiently in learning", 1998): steps are
measured by the relative change of T, which makes the cost about equally steep in all directions. From many random
starts the lowest minima survive, and are changed again and again (a turn by 180 degrees, a shift, a random change).
What descends from there replaces its parent where it is lower, and the lowest ones replace the highest.

The combination is our own.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from privpipe.perturb.base import Images

FADE = 6  # pixels at each border that are faded out
FREEDOM = 2.0  # degrees of freedom of Student's distribution
CHROMA = 0.6  # weight of every component of colour but the first: they are not independent of each other
FLOOR = 1e-6  # of the largest power of a component, added to its spectrum
EXACT, SMOOTH = 1e-3, 1e-2  # added to |T|², whose mean is 1; the larger one at first, which has fewer minima
MODEL_IMAGES = 2000  # public images that spectra are taken of
ROUNDS_OF_SCALE = 3  # of the fit of the scale of Student's distribution
GAIN = 0.5
RIDGE = 1e-3  # of the metric, relative to its diagonal
KERNELS = 2048  # that descend together
FIRST_STEPS, STEPS, LAST_STEPS = 20, 15, 15  # of a descent from a random start, after a change, and at the end
LAST = 4  # kernels that descend at the end
TURNED, SHIFTED = 0.15, 0.25  # probabilities of these changes; else a random one


@dataclass(frozen=True)
class Effort:
    """How hard to search, for each image.

    Args:
        starts: random kernels.
        survivors: of their minima, those that are changed.
        rounds: of changes.
    """

    starts: int
    survivors: int
    rounds: int


@dataclass(frozen=True)
class KernelLikelihood:
    """What public images tell of the spectra of images.

    Args:
        k: side of the kernel.
        colours: (C, C), row c gives component c from the colours.
        whiteners: (C, 2, n, n // 2 + 1), complex: what makes derivatives along rows and columns white.
        fade: (n, n), 0..1, the weight of each pixel.
        weights: (C,), of the components.
    """

    k: int
    colours: Tensor
    whiteners: Tensor
    fade: Tensor
    weights: Tensor

    @classmethod
    def of(cls, public: Images, k: int, device: torch.device | None = None) -> "KernelLikelihood":
        """From unfiltered images, uint8 (M, n, n, C), n over 2 * `FADE`."""
        images = torch.from_numpy(public[:MODEL_IMAGES]).to(device).permute(0, 3, 1, 2).float()
        channels, size = images.shape[1:3]
        ramp = torch.ones(size, device=images.device)
        rise = torch.sin((torch.arange(FADE) + 0.5) / FADE * math.pi / 2).square().to(images.device)
        ramp[:FADE], ramp[-FADE:] = rise, rise.flip(0)
        fade = ramp[:, None] * ramp
        flat = (images - images.mean(dim=(2, 3), keepdim=True)).transpose(0, 1).reshape(channels, -1).double()
        colours = torch.linalg.eigh(flat @ flat.T)[1].T.flip(0).float()
        weights = torch.full((channels,), CHROMA, device=images.device)
        weights[0] = 1
        bare = cls(k, colours, torch.empty(0), fade, weights)
        power = bare.spectra(images).abs().square().mean(dim=0)
        power = power + FLOOR * power.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
        turns = 2j * math.pi * torch.fft.fftfreq(size, device=images.device)
        along = 1 - torch.exp(-turns)
        half = along[: size // 2 + 1]
        derivatives = torch.stack([half.expand(size, -1), along[:, None].expand(-1, len(half))])
        length = derivatives.abs().square().sum(dim=0).sqrt().clamp(min=1e-3)
        return cls(k, colours, size * (derivatives / length)[None] / power.sqrt()[:, None], fade, weights)

    def spectra(self, images: Tensor) -> Tensor:
        """Images (N, C, n, n), of any gain, to the spectra of their components, complex (N, C, n, n // 2 + 1)."""
        mean = (images * self.fade).sum(dim=(2, 3), keepdim=True) / self.fade.sum()
        parts = torch.einsum("ij,njhw->nihw", self.colours, images - mean) * self.fade
        spread = parts[:, :1].flatten(2).std(dim=2)[:, :, None, None].clamp(min=1e-6)
        spectra: Tensor = torch.fft.rfft2(parts / spread)
        return spectra

    def cost(self, kernels: Tensor, spectra: Tensor, floor: float) -> Tensor:
        """(B,): the cost of the module's description, of each kernel (B, k, k) for its image (B, C, n, n // 2 + 1)."""
        size = len(self.fade)
        transfer = torch.fft.rfft2(_centred(kernels, size))
        power = transfer.abs().square() + floor * kernels.square().sum(dim=(1, 2))[:, None, None]
        inverse = (transfer / power)[:, None] * spectra
        values = torch.fft.irfft2(inverse[:, :, None] * self.whiteners, s=(size, size))
        squares = values.square().sum(dim=2)  # (B, C, n, n)
        pixels = self.fade.sum()
        with torch.no_grad():  # the scale is at its optimum, where its derivative is zero
            scale = 0.3 * (squares * self.fade).sum(dim=(2, 3)) / (2 * pixels)
            for _ in range(ROUNDS_OF_SCALE):
                shrunk = (FREEDOM + 2) / (FREEDOM + squares / scale[:, :, None, None]) * squares
                scale = ((shrunk * self.fade).sum(dim=(2, 3)) / (2 * pixels)).clamp(min=1e-12)
        tails = torch.log1p(squares / (FREEDOM * scale[:, :, None, None])) * self.fade
        sparse = (FREEDOM + 2) / 2 * tails.sum(dim=(2, 3)) / (2 * pixels) + scale.log() / 2
        columns = torch.full((power.shape[2],), 2.0, device=power.device)  # of the half that is not computed, as well
        columns[0] = 1
        if size % 2 == 0:
            columns[-1] = 1
        jacobian = (power.log() / 2 * columns).sum(dim=(1, 2)) / size**2
        cost: Tensor = (sparse * self.weights).sum(dim=1) + jacobian * self.weights.sum()
        return cost

    def metric(self, kernels: Tensor, floor: float) -> Tensor:
        """(B, k², k²): the squared length of a change of a kernel is the mean of |its transfer function / T|²."""
        size, count = len(self.fade), self.k**2
        power = torch.fft.rfft2(_centred(kernels, size)).abs().square()
        power = power + floor * kernels.square().sum(dim=(1, 2))[:, None, None]
        correlation = torch.fft.irfft2(power.reciprocal().to(torch.complex64), s=(size, size)).flatten(1)
        y, x = np.divmod(np.arange(count), self.k)
        lags = (y[:, None] - y) % size * size + (x[:, None] - x) % size
        metric: Tensor = correlation[:, torch.from_numpy(lags).to(kernels.device)]
        return metric + RIDGE * metric[:, :1, :1] * torch.eye(count, device=kernels.device)


def search(
    model: KernelLikelihood, images: Tensor, effort: Effort, draws: torch.Generator
) -> tuple[Tensor, NDArray[np.float32]]:
    """The likeliest kernel of each image, of length 1 and any sign, (N, k, k), and its cost (N,).

    Args:
        images: filtered, (N, C, n, n), of any gain, of the size that `model` is of.
        draws: of the random starts and changes, on the CPU.
    """
    count, k, most = len(images), model.k, effort.survivors
    spectra = model.spectra(images)
    found = torch.randn(count, effort.starts, k, k, generator=draws).to(images.device)
    found, costs = descend(model, found, spectra, FIRST_STEPS, SMOOTH)
    found, costs = _lowest(found, _costs(model, found, spectra), most)
    for _ in range(effort.rounds):
        changed, lower = descend(model, _changed(model, found, draws), spectra, STEPS, EXACT, GAIN)
        better = lower < costs
        found = torch.where(better[:, :, None, None], changed, found)
        found, costs = _lowest(found, torch.where(better, lower, costs), most)
        spared = most // 4
        if spared:
            found[:, -spared:], costs[:, -spared:] = found[:, :spared].clone(), costs[:, :spared].clone()
    found, costs = _lowest(found, costs, LAST)
    found, costs = descend(model, found, spectra, LAST_STEPS, EXACT, 0.5)
    found, costs = _lowest(found, costs, 1)
    return found[:, 0], costs[:, 0].cpu().numpy()


def descend(
    model: KernelLikelihood, kernels: Tensor, spectra: Tensor, steps: int, floor: float, gain: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Kernels (N, S, k, k), S for each image, some steps later, and their costs (N, S)."""
    count, each = kernels.shape[:2]
    images = torch.arange(count, device=kernels.device).repeat_interleave(each)
    results = [
        _descend(model, part, spectra[of], steps, floor, gain)
        for part, of in zip(torch.split(kernels.flatten(0, 1), KERNELS), torch.split(images, KERNELS), strict=True)
    ]
    return (
        torch.cat([part for part, _ in results]).reshape(kernels.shape),
        torch.cat([cost for _, cost in results]).reshape(count, each),
    )


def _descend(
    model: KernelLikelihood, kernels: Tensor, spectra: Tensor, steps: int, floor: float, gain: float
) -> tuple[Tensor, Tensor]:
    """As `descend`, of kernels (B, k, k) with the spectra of their images (B, ...)."""
    longest, memory = 0.5 if gain == 1 else 0.3, 0.5 if gain == 1 else 0.3
    momentum = torch.zeros_like(kernels)
    for step in range(steps):
        kernels = _unit(kernels).requires_grad_(True)
        (slope,) = torch.autograd.grad(model.cost(kernels, spectra, floor).sum(), kernels)
        kernels = kernels.detach()
        metric = model.metric(kernels, floor)
        change = torch.linalg.solve(metric, slope.flatten(1)[:, :, None]) / model.weights.sum()
        length = (change * (metric @ change)).sum(dim=(1, 2)).clamp(min=1e-12).sqrt()
        factor = torch.minimum(longest / length, torch.full_like(length, gain))
        if step >= 0.6 * steps:
            factor = factor / 2
        momentum = memory * momentum - factor[:, None, None] * change.reshape(kernels.shape)
        kernels = kernels + momentum
    kernels = _unit(kernels)
    with torch.no_grad():
        return kernels, model.cost(kernels, spectra, floor)


def _costs(model: KernelLikelihood, kernels: Tensor, spectra: Tensor) -> Tensor:
    return descend(model, kernels, spectra, 0, EXACT)[1]


def _changed(model: KernelLikelihood, kernels: Tensor, draws: torch.Generator) -> Tensor:
    """Kernels (N, S, k, k), each changed in one of the ways of the module's description."""
    k, flat = model.k, kernels.flatten(0, 1)
    count = len(flat)
    factor = torch.linalg.cholesky(model.metric(flat, EXACT))
    noise = torch.randn(count, k * k, 1, generator=draws).to(flat.device)
    change = torch.linalg.solve_triangular(factor.transpose(1, 2), noise, upper=True).reshape(flat.shape) / k
    size = 0.1 + torch.rand(count, 1, 1, generator=draws).to(flat.device)
    kind, turn = torch.rand(2, count, generator=draws).to(flat.device)
    to = torch.randint(3, (2, count), generator=draws).to(flat.device)
    turned = flat.flip(1, 2)
    source = torch.where((turn < 0.3)[:, None, None], turned, flat)
    windows = F.pad(source, (1, 1, 1, 1)).unfold(1, k, 1).unfold(2, k, 1)  # (B, 3, 3, k, k): shifts by -1, 0 and 1
    shifted = windows[torch.arange(count, device=flat.device), to[0], to[1]]
    changed = torch.where((kind < TURNED + SHIFTED)[:, None, None], shifted, flat + size * change)
    changed = torch.where((kind < TURNED)[:, None, None], turned, changed)
    jitter = torch.randn(flat.shape, generator=draws).to(flat.device)
    return (changed + 0.02 / k * jitter).reshape(kernels.shape)


def _lowest(kernels: Tensor, costs: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The `most` kernels of each image with the lowest costs, by rising cost."""
    costs, order = costs.sort(dim=1, stable=True)
    images = torch.arange(len(kernels), device=kernels.device)[:, None]
    return kernels[images, order[:, :most]], costs[:, :most]


def _unit(kernels: Tensor) -> Tensor:
    length: Tensor = kernels.square().sum(dim=(1, 2), keepdim=True).sqrt()
    return kernels / length.clamp(min=1e-9)


def _centred(kernels: Tensor, size: int) -> Tensor:
    """Kernels (B, k, k) in fields (B, size, size), their middle at (0, 0)."""
    k = kernels.shape[-1]
    field = F.pad(kernels, (0, size - k, 0, size - k))
    centred: Tensor = torch.roll(field, (-(k // 2), -(k // 2)), dims=(1, 2))
    return centred
