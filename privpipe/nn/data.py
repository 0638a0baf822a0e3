"""Perturbed images on their way to the device that trains: all at once, or streamed in parts."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from privpipe.errors import PrivpipeError
from privpipe.store import Store

BLOCK = 64  # consecutive images that a streamed set reads together
Part = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Resident:
    """A set that lies in one piece: images (N, H, W, C) as stored and labels int64 (N,), on one device."""

    images: Tensor
    labels: Tensor

    @property
    def count(self) -> int:
        return len(self.labels)

    def steps(self, batch_size: int) -> int:
        """Steps of one epoch; the last may have fewer images."""
        return -(-self.count // batch_size)

    def epoch(self, order: torch.Generator, batch_size: int) -> Iterator[Part]:
        """The set as one part: images, labels and a permutation of its rows, drawn from `order`."""
        yield self.images, self.labels, torch.randperm(self.count, generator=order).to(self.labels.device)

    def parts(self) -> Iterator[Tensor]:
        """All images."""
        yield self.images


@dataclass(frozen=True)
class Streamed:
    """A training set that is larger than the memory that it may take.

    Each epoch cuts the stored order into blocks of `BLOCK` images, shuffles the blocks, and reads them in parts of
    about `held` / 2 images: while one part trains, the next is read. Within a part the images are shuffled one by one.

    How good that shuffle is: every epoch has every image once, and an image is equally likely at any place of it (but
    for the last, smaller part and block). What differs from a full shuffle is who meets whom: two images of one block
    are always in the same part, so they share a batch as many times as often as an epoch has parts. The stored order is
    itself random within each class, and the classes take turns in it (`privpipe.data.split`), so a block is a
    class-balanced random sample, and so is every part.

    Args:
        store: open as long as the set is used.
        device: where parts go.
        held: images in memory at a time.
    """

    store: Store
    split: str
    device: torch.device
    held: int

    @property
    def count(self) -> int:
        return self.store.counts[self.split]

    def steps(self, batch_size: int) -> int:
        """Steps of one epoch; the last may have fewer images."""
        return -(-self.count // batch_size)

    def epoch(self, order: torch.Generator, batch_size: int) -> Iterator[Part]:
        """Part after part: images, labels and a permutation of the part's rows, drawn from `order`."""
        labels = torch.from_numpy(self.store.labels(self.split))
        blocks = torch.split(torch.arange(self.count), BLOCK)
        rows = torch.cat([blocks[i] for i in torch.randperm(len(blocks), generator=order)])
        whole_batches = max(1, self.held // 2 // batch_size) * batch_size
        parts = torch.split(rows, whole_batches)
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, parts[0])
            for i, part in enumerate(parts):
                images = ahead.result().to(self.device, non_blocking=True)
                if i + 1 < len(parts):
                    ahead = reader.submit(self._read, parts[i + 1])
                shuffled = torch.randperm(len(part), generator=order)
                yield images, labels[part].to(self.device), shuffled.to(self.device)

    def parts(self) -> Iterator[Tensor]:
        """All images in the stored order, at most half of what may be held at a time."""
        for rows in torch.split(torch.arange(self.count), max(1, self.held // 2)):
            yield self._read(rows).to(self.device)

    def _read(self, rows: Tensor) -> Tensor:
        """Images `rows` of the file, in that order, reading neighbours together."""
        header = self.store.header
        dtype = torch.uint8 if header.dtype == "uint8" else torch.float16
        images = torch.empty((len(rows), *header.shape), dtype=dtype, pin_memory=self.device.type == "cuda")
        target, numbers = images.numpy(), rows.numpy()
        cuts = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1), len(numbers)]
        for first, last in pairwise(cuts):
            target[first:last] = self.store.rows(self.split, int(numbers[first]), int(numbers[last - 1]) + 1)
        return images


TrainingSet = Resident | Streamed


def load_split(store: Store, split: str, device: torch.device) -> Resident:
    """A whole split on `device`.

    Raises:
        PrivpipeError: the split is empty or damaged.
    """
    _check_any(store, split)
    images, labels = torch.from_numpy(store.images(split)), torch.from_numpy(store.labels(split))
    return Resident(images.to(device), labels.to(device))


def load_training(store: Store, device: torch.device, batch_size: int, memory_mb: int | None) -> TrainingSet:
    """The training split, whole on `device` where it fits, else streamed to it.

    Args:
        memory_mb: megabytes (10^6 bytes) that its images may take; None: half of the memory that the GPU has free, or
            half of what the machine has.

    Raises:
        PrivpipeError: the split is empty or damaged, or the memory does not hold two batches.
    """
    _check_any(store, "train")
    header = store.header
    size = int(np.prod(header.shape)) * np.dtype(header.dtype).itemsize
    memory = _half_of_memory(device) if memory_mb is None else memory_mb * 10**6
    if store.counts["train"] * size <= memory:
        return load_split(store, "train", device)
    if memory < 2 * batch_size * size:
        raise PrivpipeError(
            f"train.memory_mb must hold two batches of train.batch_size={batch_size}, "
            f"{2 * batch_size * size / 1e6:.1f} MB; got {memory / 1e6:g}. Raise it, or lower the batch size."
        )
    return Streamed(store, "train", device, memory // size)


def _half_of_memory(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what an earlier training left in torch's cache counts as taken
        return int(torch.cuda.mem_get_info(device)[0]) // 2
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _check_any(store: Store, split: str) -> None:
    if store.counts[split] == 0:
        raise PrivpipeError(f"{store.path} has no {split} images. Raise data.n_{split} and perturb again.")
