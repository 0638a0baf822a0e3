"""An experiment whose perturbed images went through 8 bits, to test whether those of the paper did.

The paper does not say how it stored the images of a random filter, whose values go far beyond black and white. Ours are
float16 and lose nothing; in 8 bits, as OpenCV and image files have them, what is darker than black or brighter than
white is cut off.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privpipe.params import Params
from privpipe.perturb.base import Array
from privpipe.pipeline.experiment import Experiment
from privpipe.pipeline.fingerprint import Row
from privpipe.store import PERTURBED, SPLITS, create, open_store
from studies.paper.model import measure_experiment

GREY_LEVELS = 255


class SavedIn8Bits(Experiment):
    """An experiment whose perturbed images went through 8 bits: rounded to 256 levels, the rest cut off."""

    @cached_property
    def perturbed(self) -> Path:
        """As of `Experiment`; to files that an experiment before this one left it changes nothing more."""
        path = super().perturbed
        saved = path.with_suffix(".8bit")
        save_in_8_bits(path, saved)
        return saved.replace(path)


def save_in_8_bits(source: Path, target: Path) -> None:
    """The same file of perturbed images (PERTURBED, float16) with what 8 bits keep of it."""
    with open_store(source, PERTURBED) as store, create(target, store.header, store.counts) as writer:
        for split in SPLITS:
            for start, stop in store.spans(split):
                images = in_8_bits(store.rows(split, start, stop), store.header.image_range)
                writer.write(split, start, images, store.labels(split, start, stop))


def in_8_bits(images: Array, image_range: tuple[float, float]) -> NDArray[np.float16]:
    """Float images (N, H, W, C) as after rounding to the 256 levels from black to white, and no others; float16."""
    low, high = image_range
    levels = np.rint((images.astype(np.float32) - low) * (GREY_LEVELS / (high - low))).clip(0, GREY_LEVELS)
    saved: NDArray[np.float16] = (levels * ((high - low) / GREY_LEVELS) + low).astype(np.float16)
    return saved


def measure(params: Params, scratch: Path, images: Path) -> Row:
    """As `studies.paper.model.measure`, of images that went through 8 bits."""
    return measure_experiment(SavedIn8Bits(params, images, scratch))
