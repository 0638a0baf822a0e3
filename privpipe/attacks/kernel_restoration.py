"""Restore images whose kernels are about known: inverse filters of several strengths, corrected by networks.

    restorer = Restorer(channels, draws)
    restorer.fit_gain(kernels, filtered, lengths)
    (first, _), (image, kernel) = restorer.steps(filtered, found)

A kernel that was found comes without gain and sign, and may be wrong. The sign is that which makes the image positive.
The gain is predicted from statistics of the image that the kernel of length 1 gives, by ridge regression. Then

    x = x0 + Wiener_v(y - K x0)    for three relative errors v of the kernel,

where x0 is grey at first and K the exact operator with its reflected borders. A small U-Net makes one image of them and
of the filtered image itself, which is all that there is where the kernel is wrong. With this image x1 the kernel is a
problem of least squares with k² unknowns, y = K(w) x1, regularised towards what was found. A second network sees x1
and restorations with the new kernel, which start from x1 instead of grey. Alternating between image and kernel is the
usual way of blind deconvolution (Ayers and Dainty, "Iterative blind deconvolution method and its applications", Optics
Letters, 1988); learned steps in between are as in Schuler et al., "Learning to deblur" (2016).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privpipe.attacks.unet import LinearUNet
from privpipe.perturb.network_inputs import MIDDLE, SCALE

WHITE = 255.0
GREY = 0.47  # where an image starts, white being 1: about the mean of photographs
ERRORS = (0.3, 0.03, 0.003)  # squared relative errors of kernels that inverse filters allow for
MIDDLE_ERROR = 0.03  # for the statistics of which the gain is predicted
LARGEST = 6.0  # restorations are clipped to it, in network units
SHARP, RIDGE = 0.3, 1.0  # of least squares: weight of fine structure, and ridge, the mean of the diagonal being 1
GAIN_RIDGE = 1e-2
MARGIN = 8  # pixels by which images are extended for Fourier transforms


def filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Images (B, C, H, W) correlated with a kernel each, (B, k, k), borders reflected without repeating the edge."""
    radius, (height, width) = kernels.shape[-1] // 2, images.shape[2:]
    sizes = (height + 2 * radius, width + 2 * radius)
    spectra = torch.fft.rfft2(F.pad(images, (radius,) * 4, mode="reflect"))
    whole: Tensor = torch.fft.irfft2(spectra * _transfer(kernels, sizes).conj()[:, None], s=sizes)
    return whole[..., radius : radius + height, radius : radius + width]


def inverse_filtered(images: Tensor, kernels: Tensor, errors: Sequence[float]) -> list[Tensor]:
    """Wiener's inverse of `filtered` for images that are zero beyond their borders, for each of `errors`."""
    height, width = images.shape[2:]
    sizes = (height + 2 * MARGIN, width + 2 * MARGIN)
    transfer = _transfer(kernels, sizes)
    power, spectra = transfer.abs().square(), torch.fft.rfft2(images, s=sizes)
    mean = kernels.square().sum(dim=(1, 2))[:, None, None].clamp(min=1e-12)
    return [
        torch.fft.irfft2(spectra * (transfer / (power + error * mean))[:, None], s=sizes)[..., :height, :width]
        for error in errors
    ]


def _transfer(kernels: Tensor, sizes: tuple[int, int]) -> Tensor:
    """The spectra of kernels (B, k, k) whose middle is at (0, 0); a correlation multiplies by their conjugates."""
    k = kernels.shape[-1]
    field = F.pad(kernels, (0, sizes[1] - k, 0, sizes[0] - k))
    spectra: Tensor = torch.fft.rfft2(torch.roll(field, (-(k // 2), -(k // 2)), dims=(1, 2)))
    return spectra


def least_squares(images: Tensor, seen: Tensor, before: Tensor, ridge: float = RIDGE) -> Tensor:
    """The kernels (B, k, k) that make images (B, C, H, W) into `seen`, regularised towards `before`.

    Fine structure, the difference of a pixel to the mean of its surroundings, counts besides the values.
    """
    k = before.shape[-1]
    padded = F.pad(images, (k // 2,) * 4, mode="reflect")
    products, sides = _normal_equations(padded, seen, k)
    fine, fine_sides = _normal_equations(_fine(padded), _fine(seen), k)
    products, sides = products + SHARP * fine, sides + SHARP * fine_sides
    ridges = ridge * torch.eye(k * k, device=images.device)
    solution: Tensor = torch.linalg.solve(products + ridges, sides + ridge * before.flatten(1)[:, :, None])
    return solution.reshape(before.shape)


def _normal_equations(padded: Tensor, seen: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """XᵀX (B, k², k²) and Xᵀy (B, k², 1) of `least_squares`, divided by the mean of the diagonal of the first."""
    shifted = padded.unfold(2, k, 1).unfold(3, k, 1).permute(0, 4, 5, 1, 2, 3).reshape(len(padded), k * k, -1)
    products = shifted @ shifted.transpose(1, 2)
    size = products.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None].clamp(min=1e-6)
    return products / size, shifted @ seen.reshape(len(seen), -1, 1) / size


def _fine(images: Tensor) -> Tensor:
    return images[..., 1:-1, 1:-1] - F.avg_pool2d(images, 3, 1)


def oriented(kernels: Tensor, seen: Tensor) -> Tensor:
    """Kernels of length 1, with the sign that makes the mean of the image positive."""
    sign = torch.where(kernels.sum(dim=(1, 2)) * seen.mean(dim=(1, 2, 3)) < 0, -1.0, 1.0)
    length: Tensor = kernels.square().sum(dim=(1, 2)).sqrt()
    return kernels * (sign / length.clamp(min=1e-9))[:, None, None]


class Restorer(nn.Module):
    """Two networks and the gain. Images are (B, C, H, W) with white 1, H and W multiples of 4.

    Args:
        channels: colours.
        draws: of the weights.
    """

    gain: Tensor

    def __init__(self, channels: int, draws: torch.Generator):
        super().__init__()
        inputs = (2 + len(ERRORS)) * channels + 1
        self.first, self.second = (LinearUNet(inputs, channels, draws) for _ in range(2))
        self.register_buffer("gain", torch.zeros(0))

    def fit_gain(self, kernels: Tensor, seen: Tensor, lengths: Tensor) -> None:
        """Learn what gain a kernel of length 1 (B, k, k) needs, whose true length is `lengths` (B,)."""
        features = _features(kernels, seen).double()
        products = features.T @ features / len(features)
        ridge = GAIN_RIDGE * torch.eye(len(products), device=seen.device, dtype=torch.float64)
        self.gain = torch.linalg.solve(products + ridge, features.T @ lengths.log().double() / len(features)).float()

    def scaled(self, kernels: Tensor, seen: Tensor) -> Tensor:
        """Kernels that were found, with sign and gain."""
        unit = oriented(kernels, seen)
        return unit * (_features(unit, seen) @ self.gain).clamp(-3, 5).exp()[:, None, None]

    def steps(self, seen: Tensor, kernels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The image in network units and the kernel of each step; `kernels` as found, (B, k, k).

        No gradient flows from one step into another: each network learns to make the best of what it is given.
        """
        standard = _standardised(seen)
        before = torch.full_like(seen, GREY)
        known = self.scaled(kernels, seen)
        results: list[tuple[Tensor, Tensor]] = []
        for network in (self.first, self.second):
            with torch.autocast(seen.device.type, enabled=False):
                if results:
                    known = least_squares(before, seen, known)
                inputs = _inputs(before, seen, known, standard)
            image = network(inputs) + _units(before)
            results.append((image, known))
            before = (image.detach().float() * SCALE + MIDDLE).div(WHITE).clamp(0, 1)
        return results


def _inputs(before: Tensor, seen: Tensor, kernels: Tensor, standard: Tensor) -> Tensor:
    """What a network sees: changes of `before`, the filtered image, `before`, and how much is not explained."""
    missing = seen - filtered(before, kernels)
    changes = [
        (change * (WHITE / SCALE)).clamp(-LARGEST, LARGEST) for change in inverse_filtered(missing, kernels, ERRORS)
    ]
    size = (missing.square().mean(dim=(1, 2, 3)) / seen.square().mean(dim=(1, 2, 3)).clamp(min=1e-9)).clamp(min=1e-6)
    level = (size.log() / 2)[:, None, None, None].expand(-1, 1, *seen.shape[2:])
    return torch.cat([*changes, standard, _units(before), level], dim=1)


def _units(images: Tensor) -> Tensor:
    return (images * WHITE - MIDDLE) / SCALE


def _standardised(seen: Tensor) -> Tensor:
    """Of mean 0 and deviation 1, and turned where the mean is negative, since images are positive."""
    mean = seen.mean(dim=(1, 2, 3), keepdim=True)
    return (seen - mean) / seen.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-5) * torch.where(mean < 0, -1.0, 1.0)


def _features(kernels: Tensor, seen: Tensor) -> Tensor:
    """(B, features), of which the logarithm of the gain is a linear function."""
    mean = seen.mean(dim=(1, 2, 3))
    (image,) = inverse_filtered(seen - mean[:, None, None, None], kernels, (MIDDLE_ERROR,))
    values = image.flatten(1).sort(dim=1).values
    low, middle, high = (values[:, int(part * (values.shape[1] - 1))] for part in (0.01, 0.5, 0.99))
    total = kernels.sum(dim=(1, 2)).abs()
    sizes = [
        image.std(dim=(1, 2, 3)),
        seen.std(dim=(1, 2, 3)),
        high - low,
        high - middle,
        mean.abs(),
        mean.abs() / total.clamp(min=0.1),
        total,
    ]
    logs = torch.stack([size.clamp(min=1e-3).log() for size in sizes], dim=1)
    rows, columns = torch.triu_indices(logs.shape[1], logs.shape[1], device=seen.device)
    return torch.cat([torch.ones_like(logs[:, :1]), logs, logs[:, rows] * logs[:, columns]], dim=1)
