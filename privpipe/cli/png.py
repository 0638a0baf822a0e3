"""Perturbed images as PNG files, to look at or to send."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from privpipe.cli.queries import Query, perturb_query
from privpipe.data.image_files import read_image
from privpipe.errors import PrivpipeError
from privpipe.files import write_bytes
from privpipe.perturb import Perturbation
from privpipe.reading import Reading
from privpipe.report.display import displayable

SHEET_PIXELS = 64  # an image on a sheet is enlarged to about this many
GAP = 2


def write_png(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image, uint8 (H, W, 3), exactly, atomically.

    Raises:
        PrivpipeError: the disk is full, or `path` cannot be written.
    """
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    write_bytes(path, data)


def sheet(images: NDArray[Any], image_range: tuple[float, float]) -> NDArray[np.uint8]:
    """Images (N, H, W, C), C 1 or 3, side by side in rows on white: an RGB image, uint8 (H', W', 3).

    Each is shown as it is where it keeps to `image_range`, else stretched to its own range.
    """
    count, height, width = images.shape[:3]
    scale = max(1, SHEET_PIXELS // max(height, width))
    columns = math.ceil(math.sqrt(count))
    step_y, step_x = height * scale + GAP, width * scale + GAP
    out = np.full((math.ceil(count / columns) * step_y + GAP, columns * step_x + GAP, 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * step_y + GAP, i % columns * step_x + GAP
        large = displayable(image, image_range).repeat(scale, axis=0).repeat(scale, axis=1)
        out[y : y + height * scale, x : x + width * scale] = large
    return out


def plan(queries: Sequence[Query], out: Path, force: bool) -> list[Path]:
    """Where the perturbed PNG of each image goes: `out` itself where it ends in .png, else below that folder.

    Raises:
        PrivpipeError: two images would go to the same file, a file exists and may not be overwritten, `out` is
            one file for several images, or a result would replace an image that is read.
    """
    if out.suffix.lower() == ".png" and not os.path.isdir(out):
        if len(queries) > 1:
            raise PrivpipeError(f"--out {out} is one file, and there are {len(queries)} images. Name a folder.")
        targets = [out] * len(queries)
    elif out.suffix and not os.path.isdir(out):
        raise PrivpipeError(f"--out must be a folder, or end in .png for one image; got {out}. Results are PNG files.")
    else:
        targets = [out / query.name.with_suffix(".png") for query in queries]
    sources = {os.path.realpath(query.path) for query in queries}
    seen: dict[Path, Path] = {}
    for query, target in zip(queries, targets, strict=True):
        if target in seen:
            raise PrivpipeError(
                f"{seen[target]} and {query.path} would both be written to {target}. Rename one, or perturb them to "
                "different folders."
            )
        if os.path.realpath(target) in sources:
            raise PrivpipeError(f"{target} is one of the images that are read. Name another --out.")
        if os.path.lexists(target) and not force:
            raise PrivpipeError(f"{target} exists. Name another --out, or pass --force to overwrite.")
        seen[target] = query.path
    return targets


def write_queries(
    queries: Sequence[Query],
    method: Perturbation,
    reading: Reading,
    out: Path,
    force: bool,
    report: Callable[[str], None],
) -> int:
    """Perturb images one by one and write a PNG of each; float results are stretched for display.

    Args:
        report: called with a message for every image that cannot be read; the others are written all the same.

    Returns:
        How many were written.

    Raises:
        PrivpipeError: see `plan`; or a file cannot be written.
    """
    written, targets = 0, plan(queries, out, force)
    for query, target in zip(tqdm(queries, desc="perturb", unit="img", disable=None), targets, strict=True):
        try:
            perturbed = perturb_query(method, read_image(query.path, method.image_size, reading))
        except PrivpipeError as error:
            report(str(error))
            continue
        exact = method.exact and perturbed.shape[2] in (1, 3)
        write_png(target, perturbed if exact else displayable(perturbed, method.image_range))
        written += 1
    return written
