"""The owner's step across the boundary: raw images in, perturbed images out, or one release of the whole set."""

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from privpipe.errors import PrivpipeError
from privpipe.owner.key import Key
from privpipe.owner.keyhome import check_key
from privpipe.parameters import Perturb
from privpipe.perturb import Copies, Perturbation, perturbation_called
from privpipe.perturb.base import ZERO, Array, cached
from privpipe.store import PERTURBED, RAW, SPLITS, Header, create, open_store


def perturbation(settings: Perturb, image_size: int, key: Key) -> Perturbation:
    """The transformation that `settings` describe, with the owner's key."""
    kind = perturbation_called(settings.method)
    return kind(image_size, settings.k, settings.scope, settings.sigma, key.stream, **settings.own)


def perturb_file(
    source: str | Path, target: str | Path, settings: Perturb, key: Key, progress: bool = True
) -> dict[str, int | float | str | None]:
    """Perturb every image of `source` (RAW) into `target` (PERTURBED), in chunks, with a progress bar if asked for.

    Returns:
        The number of images of each split, the size of the images in bytes, the root-mean-square change per
        value in grey levels of 0..255 (over all splits, to 0.01; None of features, which are no levels), the
        fingerprint of the key, and whether it is a research key.

    Raises:
        PrivpipeError: `source` is missing or damaged, or `target` cannot be written.
    """
    with open_store(source, RAW) as store:
        height, width, channels = store.header.shape
        if height != width:
            raise PrivpipeError(f"{source} has images of {height}x{width}; they must be square. Crop them first.")
        method = perturbation(settings, height, key)
        (low, high), shape = method.image_range, method.output_shape(channels)
        header = Header(
            PERTURBED,
            method.name,
            settings.k,
            settings.scope,
            store.header.class_names,
            (low, high),
            shape,
            str(method.dtype),
            settings.sigma if method.noisy else 0.0,
            key.fingerprint if method.keyed else "",
            reading=store.header.reading,
            settings=method.settings,
            image_shape=store.header.shape if method.features else None,
        )
        squares, total = 0.0, sum(store.counts.values())
        copies = Copies()  # of the whole file: one image in two splits must not show either
        with (
            create(target, header, store.counts) as writer,
            tqdm(total=total, desc="perturb", unit="img", disable=None if progress else True) as bar,
        ):
            for split in SPLITS:
                for start, stop in store.spans(split):
                    images = store.rows(split, start, stop)
                    perturbed = method.apply(images, copies)
                    writer.write(split, start, perturbed, store.labels(split, start, stop))
                    squares += 0.0 if method.features else squared_change(images, perturbed, 255 / (high - low))
                    bar.update(stop - start)
    values = total * math.prod(header.shape)
    return {
        **{f"n_{split}": store.counts[split] for split in SPLITS},
        "bytes": values * method.dtype.itemsize,
        # It follows from the originals: with all its digits it would confirm a guess of one of them.
        "rms_change": None if method.features else round((squares / values) ** 0.5, 2),
        "key_fingerprint": key.fingerprint,
        "key_research": key.research,
    }


def check_perturbed_with(path: str | Path, key: Key) -> None:
    """Refuse a key that is not the one of a perturbed file; without a key in its method every key will do.

    Raises:
        PrivpipeError: the file is missing or damaged, or was perturbed with another key.
    """
    with open_store(path, PERTURBED) as store:
        if store.header.key_fingerprint:
            check_key(key, store.header.key_fingerprint, path)


def squared_change(images: NDArray[np.uint8], perturbed: Array, white: float) -> float:
    """The sum of squared differences of `images` (N, H, W, C) and `white` · `perturbed`, exact where that is uint8.

    Args:
        perturbed: uint8, for which `white` is 1, or float16.
    """
    total, count = 0.0, len(images)
    for rows in cached(count, 4 * math.prod(images.shape[1:])):
        before, after = (values[rows].reshape(1, -1) for values in (images, perturbed))
        if after.dtype == np.uint8:
            total += round(cv2.norm(before, after, cv2.NORM_L2SQR))  # OpenCV may square the root of a whole number
        else:
            change: Array = cv2.subtract(after, ZERO, dtype=cv2.CV_32F)  # the same values, faster than NumPy
            change *= np.float32(white)
            change -= before
            total += cv2.norm(change, cv2.NORM_L2SQR)
    return total
