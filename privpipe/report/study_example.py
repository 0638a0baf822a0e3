"""The image that the example figures show."""

from pathlib import Path

from privpipe.perturb.base import Images
from privpipe.store import RAW, open_store

CLASS = "automobile"  # the paper shows a car


def example_image(images: str | Path) -> Images:
    """The first test image of a car, or of any class where there are no cars: uint8 (H, W, C).

    Args:
        images: raw images (RAW).

    Raises:
        PrivpipeError: the file is missing or damaged.
    """
    with open_store(images, RAW) as store:
        labels = store.labels("test")
        wanted = store.header.class_names.index(CLASS) if CLASS in store.header.class_names else labels[0]
        rows = (labels == wanted).nonzero()[0]
        row = int(rows[0]) if len(rows) else 0
        image: Images = store.rows("test", row, row + 1)[0]
    return image
