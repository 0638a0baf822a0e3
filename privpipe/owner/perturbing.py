"""The owner's step across the boundary: raw images in, perturbed images out."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from privpipe.errors import PrivpipeError
from privpipe.owner.key import Key
from privpipe.params import Perturb
from privpipe.perturb import METHODS, Perturbation
from privpipe.store import PERTURBED, RAW, SPLITS, Header, create, open_store


def perturbation(settings: Perturb, image_size: int, key: Key) -> Perturbation:
    """The transformation that `settings` describe, with the owner's key."""
    return METHODS[settings.method](image_size, settings.k, settings.scope, settings.sigma, key.stream)


def perturb_file(
    source: str | Path, target: str | Path, settings: Perturb, key: Key, progress: bool = True
) -> dict[str, int | float | str]:
    """Perturb every image of `source` (RAW) into `target` (PERTURBED), in chunks, with a progress bar if asked for.

    Returns:
        The number of images of each split, the size of the pictures in bytes, the root-mean-square change per
        value in levels of 0..255 (over all splits), and the fingerprint of the key.

    Raises:
        PrivpipeError: `source` is missing or damaged, or `target` cannot be written.
    """
    with open_store(source, RAW) as store:
        height, width, _ = store.header.shape
        if height != width:
            raise PrivpipeError(f"{source} has images of {height}x{width}; they must be square. Crop them first.")
        method = perturbation(settings, height, key)
        low, high = method.image_range
        header = Header(
            PERTURBED,
            method.name,
            settings.k,
            settings.scope,
            store.header.class_names,
            (low, high),
            store.header.shape,
            str(method.dtype),
        )
        squares, total = 0.0, sum(store.counts.values())
        with (
            create(target, header, store.counts) as writer,
            tqdm(total=total, desc="perturb", unit="img", disable=None if progress else True) as bar,
        ):
            for split in SPLITS:
                labels = store.labels(split)
                for start, stop in store.spans(split):
                    images = store.rows(split, start, stop)
                    perturbed = method.apply(images, split, start)
                    writer.write(split, start, perturbed, labels[start:stop])
                    change = perturbed.astype(np.float32) * np.float32(255 / (high - low)) - images
                    squares += float(np.square(change, dtype=np.float64).sum())
                    bar.update(stop - start)
    values = total * int(np.prod(header.shape))
    return {
        **{f"n_{split}": store.counts[split] for split in SPLITS},
        "bytes": values * method.dtype.itemsize,
        "rms_change": (squares / values) ** 0.5,
        "key_fingerprint": key.fingerprint,
    }
