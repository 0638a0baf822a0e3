"""Perturbed images on the device that trains."""

import torch
from torch import Tensor

from privpipe.errors import PrivpipeError
from privpipe.store import Store


def load_split(store: Store, split: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (N, H, W, C) as stored and labels int64 (N,) of a split, on `device`.

    Raises:
        PrivpipeError: the split is empty or damaged.
    """
    if store.counts[split] == 0:
        raise PrivpipeError(f"{store.path} has no {split} images. Raise data.n_{split} and perturb again.")
    return torch.from_numpy(store.images(split)).to(device), torch.from_numpy(store.labels(split)).to(device)
