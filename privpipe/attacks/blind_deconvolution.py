"""Blind deconvolution: find the kernel of each single image, then restore the image with it.

What it assumes: each image was correlated with a small kernel of its own, the same for its colours, which is its key
(`Perturbation.kernel_is_key`, `scope: image`), and public images of the same kind (level L1).

1.  The likeliest kernel of each image is searched for under a model of public images (`kernel_search.py`).
2.  The same is done on public images that the adversary filters with keys of its own. What was found for them beside
    what was true says how such searches go wrong.
3.  Networks learn to restore images with kernels that are wrong in such ways (`kernel_restoration.py`): any public
    image is filtered with the true kernel of such a pair and restored with the found one.

The confidence is as that of the restoration network: the explained variance of public images that are held out, times
the likeness of the stolen images to them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from privpipe.attacks.base import AdversaryView, Attack, Budget, Outcome
from privpipe.attacks.kernel_restoration import Restorer, filtered, oriented
from privpipe.attacks.kernel_search import FADE, Effort, KernelLikelihood, search
from privpipe.attacks.network import BATCH, CROP, RATE, likeness
from privpipe.errors import PrivpipeError
from privpipe.nn.device import deterministic, resolve_device, resolve_precision
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.network_inputs import MIDDLE, SCALE, units
from privpipe.perturb.values import Floats

MIN_IMAGES = 22  # public ones, of which two are held out
HELD_OUT, MOST_HELD_OUT, MOST_COMPARED = 0.1, 100, 500
SEARCHED = 400  # public images, besides those held out, whose kernels are searched for
WINDOW = 48  # pixels along a side that are searched at most, in the middle of the image
MIN_SIDE = 4 * FADE
MAX_K = 7  # larger kernels were not tried
AT_A_TIME = 50  # images that are searched together
GAIN_BATCHES = 16  # of images that the gain is learned from
STARTS, SURVIVORS, MOST_ROUNDS = 8, 8, 10  # of the search; the first for each pixel of k - 1


@dataclass(frozen=True)
class BlindDeconvolution(Attack):
    """See the module.

    Args:
        epochs: passes of the networks over the public images.
        seed: of the weights, the order, the search and the adversary's own keys.
        threads: CPU threads; results depend on it.
        device: auto, cpu or cuda.
        precision: of the products in training, see `privpipe.nn.device.resolve_precision`.
        rounds: of the search; None: half as many as passes, up to `MOST_ROUNDS`.
    """

    epochs: int = 10
    seed: int = 0
    threads: int = 2
    device: str = "auto"
    precision: str = "float32"
    rounds: int | None = None

    name = "blind_deconvolution"
    levels = ("L1",)
    costly = True

    @classmethod
    def within(cls, budget: Budget) -> Attack | None:
        if not budget.network_epochs:
            return None
        return cls(budget.network_epochs, budget.seed, budget.threads, budget.device, budget.precision)

    def applies(self, method: Perturbation) -> bool:
        return method.kernel_is_key and method.scope == "image" and 1 < method.k <= MAX_K

    def run(self, view: AdversaryView) -> Outcome:
        """Search, learn, and restore the targets.

        Raises:
            PrivpipeError: there are no public images or too few, or the size is none that can be restored.
        """
        public = _checked(view)
        held_out = max(2, min(MOST_HELD_OUT, round(HELD_OUT * len(public))))
        with deterministic(self.threads):
            trainer = _Trainer(self, view, public[held_out:], resolve_device(self.device))
            trial = view.perturbation(self.seed, "held out").apply(public[:held_out])
            trainer.learn()
            error = np.square(trainer.restore(trial)[0] - public[:held_out]).mean(dtype=np.float64)
            spread = np.square(public[:held_out] - public[held_out:].mean(axis=0)).mean(dtype=np.float64)
            explained = max(0.0, 1 - float(error / spread)) if spread > 0 else 0.0
            images, _ = trainer.restore(view.targets)
            # What costs no search is compared on more images than are restored.
            own = view.perturbation(self.seed, "likeness").apply(public[:MOST_COMPARED])
        return Outcome(images, explained * likeness(view.stolen, own))


class _Trainer:
    """The search, the networks, and what they are trained on."""

    def __init__(self, attack: BlindDeconvolution, view: AdversaryView, public: Images, device: torch.device):
        self.attack, self.view, self.public, self.device = attack, view, public, device
        self.precision = resolve_precision(attack.precision, device)
        self.draws = torch.Generator().manual_seed(attack.seed)
        self.restorer = Restorer(view.channels, self.draws).to(device)
        self.crop = min(CROP, view.image_size)
        self.steps = attack.epochs * math.ceil(len(public) / BATCH)
        k = view.k
        rounds = min(MOST_ROUNDS, max(1, attack.epochs // 2)) if attack.rounds is None else attack.rounds
        self.effort = Effort(STARTS * (k - 1), SURVIVORS, rounds)
        self.model = KernelLikelihood.of(self._window(public), k, device)

    def learn(self) -> None:
        true, found = self._pairs()
        batches = [self._batch(rows, true, found) for rows in list(self._orders())[:GAIN_BATCHES]]
        seen, _, own, kernels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        self.restorer.fit_gain(oriented(kernels, seen), seen, own.flatten(1).norm(dim=1))
        optimiser = torch.optim.Adam(self.restorer.parameters(), lr=RATE)
        with tqdm(total=self.steps, desc="blind deconvolution", unit="step", disable=None) as bar:
            step = 0
            for _ in range(self.attack.epochs):
                for rows in self._orders():
                    seen, originals, _, kernels = self._batch(rows, true, found)
                    for group in optimiser.param_groups:
                        group["lr"] = RATE * (1 + math.cos(math.pi * step / self.steps)) / 2
                    optimiser.zero_grad()
                    with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                        steps = self.restorer.steps(seen, kernels)
                    loss = torch.stack([F.mse_loss(image.float(), originals) for image, _ in steps]).sum()
                    loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs give it no types
                    optimiser.step()
                    step += 1
                    bar.update()

    def _orders(self) -> Iterator[Tensor]:
        yield from torch.split(torch.randperm(len(self.public), generator=self.draws), BATCH)

    def _pairs(self) -> tuple[Tensor, Tensor]:
        """True kernels of some public images, filtered with keys of the adversary's own, and what is found of them."""
        images = self.public[:SEARCHED]
        method = self.view.perturbation(self.attack.seed, "search")
        true = torch.from_numpy(np.asarray(method.image_keys(images), np.float32)).to(self.device)
        return true, self.search(method.apply(images), "kernels of public images")

    def _batch(self, rows: Tensor, true: Tensor, found: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Filtered images, originals in network units, and the true and found kernels of each.

        A pair of kernels is mirrored and transposed at random, which the search would have been alike.
        """
        originals = torch.from_numpy(self.public[rows.numpy()]).to(self.device).permute(0, 3, 1, 2).float()
        top, left = torch.randint(self.view.image_size - self.crop + 1, (2,), generator=self.draws).tolist()
        originals = originals[:, :, top : top + self.crop, left : left + self.crop]
        mirrored = torch.rand(len(rows), 1, 1, 1, generator=self.draws).to(self.device) < 0.5
        originals = torch.where(mirrored, originals.flip(3), originals)
        of = torch.randint(len(true), (len(rows),), generator=self.draws).to(self.device)
        pairs = torch.stack([true[of], found[of]], dim=1)
        for turned in (pairs.flip(2), pairs.flip(3), pairs.transpose(2, 3)):
            chosen = torch.rand(len(rows), 1, 1, 1, generator=self.draws).to(self.device) < 0.5
            pairs = torch.where(chosen, turned, pairs)
        kernels = pairs[:, 0]
        seen = filtered(originals / 255, kernels).half().float()
        return seen, units(originals), kernels, pairs[:, 1]

    def _window(self, images: Array) -> Array:
        """The middle of images, which is searched."""
        side = min(WINDOW, self.view.image_size)
        first = (self.view.image_size - side) // 2
        return images[:, first : first + side, first : first + side]

    def search(self, images: Array, what: str) -> Tensor:
        """The likeliest kernel of each image as stored."""
        parts = []
        draws = torch.Generator().manual_seed(self.attack.seed + 1)
        with tqdm(total=len(images), desc=what, unit="image", disable=None) as bar:
            for first in range(0, len(images), AT_A_TIME):
                part = self._window(images[first : first + AT_A_TIME])
                parts.append(search(self.model, self._tensor(part), self.effort, draws)[0])
                bar.update(len(part))
        return torch.cat(parts)

    def _tensor(self, images: Array) -> Tensor:
        """Stored images, float32 (n, C, H, W), white 1."""
        return torch.from_numpy(images.astype(np.float32)).to(self.device).permute(0, 3, 1, 2).contiguous()

    @torch.no_grad()
    def restore(self, perturbed: Array) -> tuple[Floats, NDArray[np.float32]]:
        """Images in grey levels, float32 (n, H, W, C), and their kernels (n, k, k)."""
        with torch.enable_grad():
            found = self.search(perturbed, "kernels")
        out, kernels = np.empty(perturbed.shape, np.float32), []
        size = max(1, BATCH * CROP**2 // self.view.image_size**2)
        for first in range(0, len(perturbed), size):
            part = slice(first, first + size)
            image, kernel = self.restorer.steps(self._tensor(perturbed[part]), found[part])[-1]
            out[part] = (image * SCALE + MIDDLE).clamp(0, 255).permute(0, 2, 3, 1).cpu().numpy()
            kernels.append(kernel.cpu().numpy())
        return out, np.concatenate(kernels)


def _checked(view: AdversaryView) -> Images:
    if view.public is None or len(view.public) < MIN_IMAGES:
        count = 0 if view.public is None else len(view.public)
        raise PrivpipeError(
            f"blind deconvolution learns from at least {MIN_IMAGES} public images; got {count}. Raise data.public, or "
            "name a folder of other images there."
        )
    if view.image_size % 4 or view.image_size < MIN_SIDE:
        raise PrivpipeError(
            f"blind deconvolution takes images of a multiple of 4 pixels, at least {MIN_SIDE}; got {view.image_size}. "
            "Resize them."
        )
    return view.public
