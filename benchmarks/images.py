"""The images that the attacks are measured on: drawn, of a CIFAR-10 archive, or of a NumPy file."""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from privpipe.data.archive import read_archive
from privpipe.data.synthetic import draw

source = click.option(
    "--source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="a CIFAR-10 archive, or images uint8 (N, H, W, 3) as .npy, or as `images` in .npz; otherwise they are drawn",
)


def sample_images(path: Path | None, count: int) -> NDArray[np.uint8]:
    """`count` images, uint8 (count, H, W, 3), in random order; of an archive, from its training part."""
    rng = np.random.default_rng(0)
    if path is None:
        return draw(count, 32, rng=rng).images
    if path.suffix == ".npy":
        images = np.load(path)
    elif path.suffix == ".npz":
        images = np.load(path)["images"]
    else:
        images = read_archive(path)[0].images
    if len(images) < count:
        raise click.ClickException(f"{path} has {len(images):,} images; {count:,} are needed. Use smaller counts.")
    return images[rng.permutation(len(images))[:count]]


def name(path: Path | None) -> str:
    return "drawn" if path is None else path.name


def peak_ratio(restored: NDArray[np.float32], originals: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB, mean over images."""
    error = ((restored - originals.astype(np.float32)) ** 2).mean(axis=(1, 2, 3))
    return float((10 * np.log10(255**2 / error)).mean())
