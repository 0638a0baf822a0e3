"""Learn to restore: a network that maps perturbed images to images, trained on images the adversary perturbs.

Level L1: the method is public, so anybody can perturb public images with keys of their own and learn the way back.
Every image gets a fresh key (`scope: image`), or every batch (`scope: dataset`), so that what is learned holds for
any key: what the perturbation leaves, together with what images look like. Level L2: training goes on with the known
pairs, which carry the very key, for as long as pairs that are held out gain by it. With fewer than 20 pairs none can
be held out, and the network stays as it was.

The network is a small U-Net (Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image
segmentation", 2015) that adds its skips, and corrects a first guess (as Zhang et al., "Beyond a Gaussian denoiser",
2017, have theirs predict the residual). Beside the image it sees what no key changes, as the method says
(`Perturbation.network_inputs` and `invariants`): of a block scramble the pixels of each block in the order of their
brightness, of a block mix the second moments of each block; a filtered image is standardised, since its filter may have
any gain. What depends on the place is given to it as coordinates and, for a key that all images share, as a linear map
of each block and a bias of each pixel, which the known pairs train. The choice of these inputs is our own.

Of images over 64×64 pixels it learns from crops, one of each image in each step. Where all images share a key, and the
network so has weights for each place, it learns from the whole, a few images at a time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from privpipe.attacks.base import AdversaryView, Attack, Budget, Outcome, Pairs
from privpipe.attacks.unet import UNet, initialise
from privpipe.attacks.windows import unit_of
from privpipe.errors import PrivpipeError
from privpipe.layers import BlockFullyConnected
from privpipe.nn.device import deterministic, resolve_device, resolve_precision
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.network_inputs import MIDDLE, SCALE, units
from privpipe.perturb.values import Floats, pixel_values

BLOCK_WIDTH, BLOCK_OUTPUTS = 64, 2048  # channels of the path over blocks, and most of its outputs per block
BATCH = 64
RATE, PLACE_RATE = 0.002, 0.02  # of learning; the maps of each block start further from where they should be
HELD_OUT = 0.1  # of public images, for the confidence
MOST_HELD_OUT = 500
HELD_OUT_PAIRS = 0.2
MIN_IMAGES = 20  # public images to train on; known pairs to go on with
LAGS = (1, 2, 4, 8)  # in pixels, of the correlations that the confidence compares
CROP = 64  # pixels along a side of what is learned from at a time
MAX_PIXELS = BATCH * CROP * CROP  # that pass through the network at a time: about 1.5 GB in training
MAX_WEIGHTS = 1 << 26  # of all blocks, 256 MB; Adam holds four times that


@dataclass(frozen=True)
class RestorationNetwork(Attack):
    """See the module.

    Args:
        epochs: passes over the public images; the known pairs get as many steps again.
        seed: of the weights, the order and the adversary's own keys.
        threads: CPU threads; results depend on it.
        device: auto, cpu or cuda.
        precision: of the products in training, see `privpipe.nn.device.resolve_precision`; images are restored in
            float32.
    """

    epochs: int = 10
    seed: int = 0
    threads: int = 2
    device: str = "auto"
    precision: str = "float32"

    name = "restoration_network"
    levels = ("L1", "L2")
    costly = True

    @classmethod
    def within(cls, budget: Budget) -> Attack | None:
        if not budget.network_epochs:
            return None
        return cls(budget.network_epochs, budget.seed, budget.threads, budget.device, budget.precision)

    def applies(self, method: Perturbation) -> bool:
        return not method.identity

    def learns_from_pairs(self, view: AdversaryView) -> bool:
        """Without a key, or with a fresh one for each image, the adversary's own pairs are as good as known ones."""
        return view.public is None or (view.scope == "dataset" and view.transformation.keyed)

    def run(self, view: AdversaryView) -> Outcome:
        """Train, and restore the targets.

        Raises:
            PrivpipeError: there are no public images or too few, or the size is no multiple of 8.
        """
        public = _checked(view)
        held_out = max(1, min(MOST_HELD_OUT, round(HELD_OUT * len(public))))
        device = resolve_device(self.device)
        with deterministic(self.threads):
            trainer = _Trainer(self, view, public[held_out:], device)
            trainer.learn_from_public()
            # A fresh key for each image, whatever the scope: the confidence must not hang on one lucky key.
            trial = replace(view, scope="image").perturbation(self.seed, "held out").apply(public[:held_out])
            error = np.square(trainer.restore(trial) - public[:held_out]).mean(dtype=np.float64)
            spread = np.square(public[:held_out] - public[held_out:].mean(axis=0)).mean(dtype=np.float64)
            explained = max(0.0, 1 - float(error / spread)) if spread > 0 else 0.0
            if view.pairs is not None and len(view.pairs.originals) >= MIN_IMAGES:
                trainer.learn_from_pairs(view.pairs)
            images = trainer.restore(view.targets)
        return Outcome(images, explained * likeness(view.stolen, trial))


def likeness(stolen: Array, own: Array) -> float:
    """0..1: whether stolen images could be what the network was trained on, by the means of a few statistics.

    The statistics of an image are its mean, the logarithm of its standard deviation and its correlations with itself
    shifted by 1, 2, 4 and 8 pixels. With D² the squared Mahalanobis distance between the means of both sets, in terms
    of the spread of single images, it is exp(-D² / (2·statistics)): near 1 for sets of the same kind, 0.6 where the
    sets are as far apart as two images.

    Args:
        stolen, own: perturbed images as stored, (n, H, W, C); `own` by the adversary.
    """
    theirs, ours = (_statistics(images[:MOST_HELD_OUT]) for images in (stolen, own))
    spread = np.atleast_2d(np.cov(ours, rowvar=False)) if len(ours) > 1 else np.zeros((ours.shape[1],) * 2)
    # A statistic that never varies would make any difference infinite.
    spread += 1e-4 * np.eye(len(spread))
    gap = theirs.mean(axis=0) - ours.mean(axis=0)
    return float(np.exp(-(gap @ np.linalg.solve(spread, gap)) / (2 * len(gap))))


def _statistics(images: Array) -> NDArray[np.float64]:
    """(n, 2 + lags); the mean and the deviation in units of `SCALE`."""
    values = (pixel_values(images).astype(np.float64) - MIDDLE) / SCALE
    mean = values.mean(axis=(1, 2, 3))
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    variance = np.square(centred).mean(axis=(1, 2, 3)) + 1e-6
    shifted = [
        (
            (centred[:, lag:] * centred[:, :-lag]).mean(axis=(1, 2, 3)) / variance,
            (centred[:, :, lag:] * centred[:, :, :-lag]).mean(axis=(1, 2, 3)) / variance,
        )
        for lag in LAGS
        if lag < images.shape[1]
    ]
    correlations = [(vertical + horizontal) / 2 for vertical, horizontal in shifted]
    return np.stack([mean, np.log(variance) / 2, *correlations], axis=1)


class _Trainer:
    """The network, what it is trained on, and how."""

    def __init__(self, attack: RestorationNetwork, view: AdversaryView, public: Images, device: torch.device):
        self.attack, self.view, self.public, self.device = attack, view, public, device
        self.precision = resolve_precision(attack.precision, device)
        self.draws = torch.Generator().manual_seed(attack.seed)
        self.network = Network(view.transformation, view.channels)
        self.network.initialise(self.draws)
        self.network.to(device)
        # Crops begin where blocks do, and are halved twice in the network.
        self.unit = math.lcm(4, unit_of(view.transformation))
        fits = not self.network.shared and max(1, CROP // self.unit) * self.unit < view.image_size
        self.crop = max(1, CROP // self.unit) * self.unit if fits else view.image_size
        self.steps = attack.epochs * math.ceil(len(public) / BATCH)

    def learn_from_public(self) -> None:
        shared = [p for name, p in self.network.named_parameters() if not name.startswith("place_")]
        optimiser = torch.optim.Adam(shared, lr=RATE)
        with tqdm(total=self.steps, desc="restoration network", unit="step", disable=None) as bar:
            for step, (perturbed, originals) in enumerate(self._public_batches()):
                if step == 0:
                    self.network.fit_guess(self._tensor(perturbed), units(self._tensor(originals)))
                self._step(optimiser, perturbed, originals, RATE * _cosine(step / self.steps))
                bar.update()

    def _public_batches(self) -> Iterator[tuple[Array, Images]]:
        number = 0
        for _ in range(self.attack.epochs):
            for rows in torch.split(torch.randperm(len(self.public), generator=self.draws), BATCH):
                originals = self.public[rows.numpy()]
                # A key for each batch, so that an image has fresh key material in every epoch.
                yield self.view.perturbation(self.attack.seed, f"batch {number}").apply(originals), originals
                number += 1

    def learn_from_pairs(self, pairs: Pairs) -> None:
        """As many steps again on known pairs; the weights are kept that do best on pairs held out."""
        kept = round(HELD_OUT_PAIRS * len(pairs.originals))
        judge = Pairs(pairs.originals[:kept], pairs.perturbed[:kept])
        groups: list[dict[str, Any]] = [
            {"params": [p for name, p in self.network.named_parameters() if name.startswith("place_") is place], **more}
            for place, more in ((False, {}), (True, {"factor": PLACE_RATE / RATE}))
        ]
        optimiser = torch.optim.Adam([group for group in groups if group["params"]], lr=RATE)
        best, least = self._state(), self._error(judge)
        count = len(pairs.originals) - kept
        checks = max(1, self.steps // 10)
        with tqdm(total=self.steps, desc="restoration network, pairs", unit="step", disable=None) as bar:
            for step in range(self.steps):
                rows = kept + torch.randint(count, (min(BATCH, count),), generator=self.draws).numpy()
                rate = RATE / 2 * _cosine(step / self.steps)
                self._step(optimiser, pairs.perturbed[rows], pairs.originals[rows], rate)
                bar.update()
                if (step + 1) % checks == 0 or step + 1 == self.steps:
                    error = self._error(judge)
                    if error < least:
                        best, least = self._state(), error
        self.network.load_state_dict(best)

    def _step(self, optimiser: torch.optim.Optimizer, perturbed: Array, originals: Images, rate: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        optimiser.zero_grad()
        corner = (0, 0)
        if self.crop < self.view.image_size:
            steps = (self.view.image_size - self.crop) // self.unit + 1
            corner = tuple(self.unit * torch.randint(steps, (2,), generator=self.draws).numpy())
        rows, columns = (slice(start, start + self.crop) for start in corner)
        perturbed, originals = perturbed[:, rows, columns], originals[:, rows, columns]
        for part in self._parts(len(perturbed), perturbed[0].size):
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                restored = self.network(self._tensor(perturbed[part]), corner)
            loss = F.mse_loss(restored, units(self._tensor(originals[part])))
            loss = loss * (len(restored) / len(perturbed))
            loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs give it no types
        optimiser.step()

    def _parts(self, count: int, values: int) -> Iterator[slice]:
        """Rows of images of so many values that pass through the network together."""
        step = max(1, MAX_PIXELS * self.view.channels // values)
        for first in range(0, count, step):
            yield slice(first, min(first + step, count))

    def _tensor(self, images: Array) -> Tensor:
        """Stored images in grey levels, float32 (n, C, H, W), channels last in memory."""
        return torch.from_numpy(pixel_values(images)).to(self.device).permute(0, 3, 1, 2)

    def _state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.state_dict().items()}

    def _error(self, pairs: Pairs) -> float:
        return float(np.square(self.restore(pairs.perturbed) - pairs.originals).mean(dtype=np.float64))

    @torch.no_grad()
    def restore(self, perturbed: Array) -> Floats:
        """Perturbed images as stored to images in grey levels, float32 (n, H, W, C)."""
        out = np.empty(perturbed.shape, np.float32)
        for part in self._parts(len(perturbed), perturbed[0].size):
            restored = self.network(self._tensor(perturbed[part])) * SCALE + MIDDLE
            out[part] = restored.clamp(0, 255).permute(0, 2, 3, 1).cpu().numpy()
        return out


class Network(nn.Module):
    """Perturbed images in grey levels (B, C, H, W) to images in network units of the same shape.

    Args:
        method: the transformation, of images of a multiple of 8 pixels; its own key is not used.
        channels: colours.
    """

    def __init__(self, method: Perturbation, channels: int):
        super().__init__()
        self.method, image_size, k = method, method.image_size, method.k
        self.shared = method.keyed and method.scope == "dataset"
        axis = torch.linspace(-1, 1, image_size)
        self.register_buffer("fit", torch.tensor([1.0, 0.0]))
        self.register_buffer("coordinates", torch.stack(torch.meshgrid(axis, axis, indexing="ij"))[None])
        inputs = 2 * channels + 2
        if self.shared:
            self.place_map = BlockFullyConnected(image_size, k) if method.blocks else nn.Identity()
            self.place_bias = nn.Parameter(torch.zeros(1, channels, image_size, image_size))
            inputs += channels
        unchanged = method.invariants(torch.zeros(1, channels, image_size, image_size))
        if unchanged is not None:
            n, features = k * k, unchanged.shape[1]
            outputs = min(16, max(1, BLOCK_OUTPUTS // n))
            self.over_blocks = nn.Sequential(
                nn.Conv2d(features, BLOCK_WIDTH, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(BLOCK_WIDTH, BLOCK_WIDTH, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(BLOCK_WIDTH, n * outputs, 1),
                nn.PixelShuffle(k),
            )
            inputs += outputs
        self.unet = UNet(inputs, channels)

    def initialise(self, draws: torch.Generator) -> None:
        """The last layer is zero, so that training starts from the first guess."""
        initialise(self, draws)
        nn.init.zeros_(self.unet.out.weight)

    @torch.no_grad()
    def fit_guess(self, images: Tensor, originals: Tensor) -> None:
        """Set gain and offset of the first guess by least squares; `originals` in network units."""
        values = self.method.network_inputs(images)[0].double()
        centred = values - values.mean()
        gain = (centred * originals).mean() / centred.square().mean().clamp(min=1e-9)
        self.get_buffer("fit").copy_(torch.stack([gain, originals.double().mean() - gain * values.mean()]))

    def forward(self, images: Tensor, corner: tuple[int, int] = (0, 0)) -> Tensor:
        """Args:
        corner: row and column where `images` begin, if they are crops.
        """
        with torch.autocast(images.device.type, enabled=False):  # what is known of the image is not rounded
            guess, image = self.method.network_inputs(images)
            unchanged = self.method.invariants(image)
        gain, offset = self.get_buffer("fit")
        guess = guess * gain + offset
        (top, left), (height, width) = corner, images.shape[2:]
        coordinates = self.get_buffer("coordinates")[:, :, top : top + height, left : left + width]
        places = coordinates.expand(len(images), -1, -1, -1)
        inputs = [guess, image, places]
        if self.shared:
            inputs.append(self.place_map(image) + self.place_bias)
        if unchanged is not None:
            inputs.append(self.over_blocks(unchanged))
        restored: Tensor = guess + self.unet(torch.cat(inputs, 1))
        return restored


def _cosine(progress: float) -> float:
    """From 1 to 0 (Loshchilov and Hutter 2017, without restarts)."""
    return (1 + math.cos(math.pi * progress)) / 2


def _checked(view: AdversaryView) -> Images:
    if view.public is None or len(view.public) < MIN_IMAGES + 2:
        count = 0 if view.public is None else len(view.public)
        raise PrivpipeError(
            f"the restoration network learns from at least {MIN_IMAGES + 2} public images; got {count}. Raise "
            "data.public, or name a folder of other images there."
        )
    if view.image_size % 8:
        raise PrivpipeError(
            f"the restoration network takes images of a multiple of 8 pixels; got {view.image_size}. Resize them."
        )
    weights = view.image_size**2 * view.k**2 if view.transformation.keyed and view.transformation.blocks else 0
    if weights > MAX_WEIGHTS:
        raise PrivpipeError(
            f"the restoration network would have {weights:,} weights for blocks of {view.k} pixels; at most "
            f"{MAX_WEIGHTS:,} are trained. Use a smaller perturb.k."
        )
    return view.public
