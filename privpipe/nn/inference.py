"""From stored images to class scores: normalisation, prediction, accuracy. Always in float32."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

logger = logging.getLogger(__name__)

CHUNK_VALUES = 1 << 20  # 8 MB of float64
EVALUATION_BATCH = {"cpu": 64, "cuda": 1000}  # on a CPU, what stays in its cache: 1.5 times as fast as 1,000
EVALUATION_BYTES = 12_288_000  # of a batch as float32: 1,000 images of 32x32; what a layer puts out is many times that


@dataclass(frozen=True)
class Normalisation:
    """Statistics of the perturbed training set, per colour, float32 (C,): part of the model."""

    mean: Tensor
    std: Tensor

    def to(self, device: torch.device) -> "Normalisation":
        return Normalisation(self.mean.to(device), self.std.to(device))

    def __call__(self, images: Tensor) -> Tensor:
        """Stored images (B, H, W, C), uint8 or float16, to network input float32 (B, C, H, W), channels last."""
        pixels = images.shape[1] * images.shape[2]
        # Whole images side by side with statistics of their length: rows of three values each would be slow.
        values = images.float().flatten(1) - self.mean.repeat(pixels)
        return values.div_(self.std.repeat(pixels)).view(images.shape).permute(0, 3, 1, 2)


def measure(images: Tensor | Iterable[Tensor], chunk: int = CHUNK_VALUES) -> Normalisation:
    """Mean and standard deviation of images (N, H, W, C) per colour, summed in float64.

    Args:
        images: one tensor, or the parts of a set that is too large for one, at least one part.
        chunk: numbers converted to float64 at a time; one image at least.
    """
    sums, values = torch.zeros(2, 1, dtype=torch.float64), 0
    for whole in [images] if isinstance(images, Tensor) else images:
        values += whole[..., 0].numel()
        for part in torch.split(whole, max(1, chunk // max(1, whole[:1].numel()))):
            pixels = part.reshape(-1, part.shape[-1]).double()
            sums = sums.to(part.device) + torch.stack([pixels.sum(0), pixels.square().sum(0)])
    mean, square = sums / values
    std = (square - mean.square()).clamp(min=0).sqrt()
    # A constant set (blank images) is centred and otherwise left as it is.
    return Normalisation(mean.float(), torch.where(std > 0, std, 1.0).float())


@torch.no_grad()
def predict(model: nn.Module, normalise: Normalisation, images: Tensor) -> Tensor:
    """Class scores, float32 (N, classes), of stored images (N, H, W, C).

    The images may lie elsewhere than the model: they are brought to it a batch at a time. Where the memory of the
    device does not hold a batch, it is halved, for as long as it has two images.
    """
    model.eval()
    device = normalise.mean.device
    batch = max(1, min(EVALUATION_BATCH[device.type], EVALUATION_BYTES // max(1, 4 * images[:1].numel())))
    scores: Tensor | None = None
    done = 0
    while done < len(images) or scores is None:
        part = _scores(model, normalise, images[done : done + batch], last=batch == 1)
        if part is None:
            torch.cuda.empty_cache()  # of the pieces that the larger batch left
            logger.warning("out of memory with batches of %d images: going on with %d", batch, batch // 2)
            batch //= 2
            continue
        if scores is None:  # of all images: small pieces that stay would split the memory of what comes and goes
            scores = part.new_empty(len(images), *part.shape[1:])
        scores[done : done + len(part)] = part
        done += batch
    return scores


def _scores(model: nn.Module, normalise: Normalisation, images: Tensor, last: bool) -> Tensor | None:
    """Of one batch; None where the device has not the memory, unless it is the `last` attempt."""
    try:
        scores: Tensor = model(normalise(images.to(normalise.mean.device)))
        return scores
    except torch.OutOfMemoryError:
        if last:
            raise
        return None


def evaluate(model: nn.Module, normalise: Normalisation, images: Tensor, labels: Tensor) -> tuple[float, float, Tensor]:
    """Mean cross-entropy, accuracy, and the predicted classes int64 (N,)."""
    scores = predict(model, normalise, images)
    predicted, labels = scores.argmax(1), labels.to(scores.device)
    loss = F.cross_entropy(scores.double(), labels).item()
    return loss, (predicted == labels).double().mean().item(), predicted
