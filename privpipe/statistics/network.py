"""Features of a small convolutional network that is trained on public images and their labels alone.

Nothing of it depends on private images, so it costs no privacy; what it is worth without any private image is the
baseline beside which a release has to be judged. Trained with AdamW and a one-cycle learning rate (Smith and Topin,
2019), label smoothing, random flips, shifts of up to 4 pixels, changes of brightness and colour, and cutout (DeVries
and Taylor, 2017).

About 160 seconds of one core (AVX-512) for 24 passes over 4,000 images of 32×32. The same call gives the same weights
on one machine with one number of threads.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from privpipe.statistics.values import Floats, Images, batches, to_tensor

EPOCHS = 24
BATCH = 100
RATE, DECAY, SMOOTHING = 3e-3, 0.05, 0.1
SHIFT, CUT = 4, 3  # pixels: of a crop, and half the side of what is cut out
TINT = 0.2  # relative change of contrast, and shift of each colour in units of its deviation
SIZE = 32  # larger images are averaged down to this size
WIDTH = 32


def _block(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class PublicNetwork(nn.Module):
    """Four convolutions with batch normalisation, one of them residual, and a linear layer on the largest values.

    Args:
        channels: of the images.
        classes: of the labels.
        width: channels of the first layer; the others have 2, 4, 4 and 8 times as many.
    """

    def __init__(self, channels: int, classes: int, width: int = WIDTH):
        super().__init__()
        first = nn.Conv2d(channels, width, 4, stride=2, padding=1, bias=False)
        self.first = nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU())
        self.second, self.third = _block(width, 2 * width), _block(2 * width, 4 * width)
        self.residual, self.last = _block(4 * width, 4 * width), _block(4 * width, 8 * width)
        self.head = nn.Linear(8 * width, classes)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the second, the residual and the last convolution see in normalised images (N, C, 32, 32)."""
        second = F.max_pool2d(self.second(self.first(images)), 2)
        third = self.third(second)
        third = third + self.residual(third)
        return second, third, self.last(F.max_pool2d(third, 2))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        logits: Tensor = self.head(F.dropout(self.maps(images)[2].amax((2, 3)), 0.2, self.training)) / 2
        return logits

    def pooled(self, images: Tensor) -> Tensor:
        """Vectors (N, 8·width·2 + 4·width·4 + 2·width·4): largest and mean values, and means of the four quarters."""
        second, third, last = self.maps(images)
        quarters = [F.adaptive_avg_pool2d(values, 2).flatten(1) for values in (third, second)]
        return torch.cat([last.amax((2, 3)), last.mean((2, 3)), *quarters], 1)


def normalised(images: Images) -> Tensor:
    """Images (N, H, W, C) uint8 as the network takes them: about -2..2, (N, C, 32, 32) or smaller, channels last."""
    values = to_tensor(images) / 64 - 2
    if max(values.shape[2:]) > SIZE:
        values = F.adaptive_avg_pool2d(values, SIZE)
    return values.contiguous(memory_format=torch.channels_last)


def train_network(
    images: Images, labels: NDArray[np.int64], classes: int, seed: int = 0, epochs: int = EPOCHS, width: int = WIDTH
) -> PublicNetwork:
    """A network trained on public images.

    Args:
        images: uint8 (N, H, W, C), at least one batch of 100, or all of them are one.
        labels: int64 (N,), 0..classes - 1.
        seed: draws weights, order and changes of the images.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights and dropout come from the global generator
        torch.manual_seed(seed)
        return _trained(PublicNetwork(images.shape[3], classes, width), images, labels, epochs)


def _trained(network: PublicNetwork, images: Images, labels: NDArray[np.int64], epochs: int) -> PublicNetwork:
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY, fused=True)
    batch = min(BATCH, len(images))
    steps = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps, pct_start=0.2)
    values, targets = normalised(images), torch.from_numpy(labels)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(values))
        for rows in order[: steps * batch].view(steps, batch):
            loss = F.cross_entropy(network(augmented(values[rows])), targets[rows], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs give it no types
            optimizer.step()
            schedule.step()
    return network.eval()


def augmented(values: Tensor) -> Tensor:
    """Images (n, C, H, W) shifted, flipped, tinted and with a square cut out, each by chance."""
    n, channels, height, width = values.shape
    padded = F.pad(values, (SHIFT,) * 4, mode="reflect")
    rows = torch.randint(2 * SHIFT + 1, (n, 1)) + torch.arange(height)
    columns = torch.randint(2 * SHIFT + 1, (n, 1)) + torch.arange(width)
    flips = torch.rand(n, 1) < 0.5
    columns = torch.where(flips, columns.flip(1), columns)
    which = torch.arange(n)[:, None, None]
    out = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    out = out * (1 + TINT * (2 * torch.rand(n, 1, 1, 1) - 1)) + TINT * (2 * torch.rand(n, channels, 1, 1) - 1)
    near_row = (torch.arange(height) - torch.randint(height, (n, 1))).abs() < CUT
    near_column = (torch.arange(width) - torch.randint(width, (n, 1))).abs() < CUT
    return out.masked_fill((near_row[:, :, None] & near_column[:, None, :])[:, None], 0)


@torch.no_grad()
def network_features(network: PublicNetwork, images: Images) -> Floats:
    """The vectors of `PublicNetwork.pooled`, means over each image and its mirror image; float32 (N, F)."""
    out = []
    for rows in batches(len(images)):
        values = normalised(images[rows])
        out.append((network.pooled(values) + network.pooled(values.flip(3))) / 2)
    return torch.cat(out).numpy()


@torch.no_grad()
def network_logits(network: PublicNetwork, images: Images) -> Floats:
    """What the network itself makes of images, summed over each and its mirror image; float32 (N, classes)."""
    out = []
    for rows in batches(len(images)):
        values = normalised(images[rows])
        out.append(network(values) + network(values.flip(3)))
    return torch.cat(out).numpy()
