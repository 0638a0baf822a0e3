"""Images, and folders of them, that the tests of the owner's data draw."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from privpipe.data.folder import FolderIndex, scan
from privpipe.data.folder_file import write_folder
from privpipe.data.folder_split import split_folder
from privpipe.data.split import Rows
from privpipe.store import RAW, SPLITS, open_store

SIZE = 8  # of the images in folders
Pixels = NDArray[Any]
Counts = dict[str, int]


def rounded(values: Pixels) -> Pixels:
    return np.floor(values + 0.5).astype(np.uint8)


def smooth(height: int, width: int) -> Pixels:
    """An image without fine detail, that survives JPEG: (height, width, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / width * 5 + c) * np.cos(y / height * 4 - c) for c in range(3)]
    return rounded(127.5 + 100 * np.stack(waves, axis=2))


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def colour(path: str) -> np.ndarray:
    """The colour that the image of this name has, and no other one."""
    return np.frombuffer(random.Random(os.fsencode(path)).randbytes(3), np.uint8)


def make(root: Path, classes: Counts, suffixes: tuple[str, ...] = ("png", "bmp", "tif")) -> Path:
    """Folders with so many images each; every image is of one colour, which tells it from the others."""
    for name, count in classes.items():
        for i in range(count):
            path = root / name / f"{i}.{suffixes[i % len(suffixes)]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.broadcast_to(colour(str(path.relative_to(root))), (SIZE, SIZE, 3))
            saved(path, Image.fromarray(np.ascontiguousarray(pixels)))
    return root


def draw(index: FolderIndex, n_train: int | None, n_val: int, n_test: int | None, seed: int = 0) -> dict[str, Rows]:
    return split_folder(index, n_train, n_val, n_test, np.random.default_rng(seed))


def bring(
    root: Path, target: Path, n_train: int | None = None, n_val: int = 4, n_test: int | None = None, **options: Any
) -> Path:
    """The whole way from a folder to a file."""
    index = scan(root)
    write_folder(target, index, draw(index, n_train, n_val, n_test), SIZE, **options)
    return target


def content(path: Path, root: Path) -> dict[str, list[tuple[str, str]]]:
    """For each split the class and the name of each image, told by its colour."""
    by_colour = {tuple(colour(str(p.relative_to(root))).tolist()): p.relative_to(root) for p in root.rglob("*.*")}
    found = {}
    with open_store(path, RAW) as store:
        for split in SPLITS:
            images, labels = store.images(split), store.labels(split)
            assert (images == images[:, :1, :1]).all()
            rows = [by_colour[tuple(image[0, 0].tolist())] for image in images]
            found[split] = [
                (store.header.class_names[label], str(row)) for label, row in zip(labels, rows, strict=True)
            ]
    return found
