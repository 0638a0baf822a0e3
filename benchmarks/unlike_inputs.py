"""How often an input is said to be unlike the training images: one that is like them, and ones that are not.

python benchmarks/unlike_inputs.py                                        # on images that the code draws
python benchmarks/unlike_inputs.py --source cifar-10-python.tar.gz        # on CIFAR-10
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from images import name, sample_images, source
from numpy.typing import NDArray

from privpipe.nn.input_statistics import CHUNK, InputStatistics, features, measure_inputs
from privpipe.owner.key import new_key
from privpipe.perturb import METHODS

SETTINGS = [
    *[("none", 1, "dataset"), ("gaussian_blur", 3, "dataset"), ("gaussian_blur", 5, "dataset")],
    *[("pixelate", 4, "dataset"), ("block_scramble", 4, "dataset"), ("block_scramble", 8, "image")],
    *[("block_mix", 4, "image"), ("random_filter", 3, "dataset"), ("random_filter", 5, "image")],
    *[("gaussian_noise", 1, "image"), ("correlated_noise", 3, "image")],
]


def unlike(statistics: InputStatistics, images: NDArray[Any]) -> float:
    """The fraction of images (N, H, W, C) that are said to be unlike."""
    values = np.concatenate([features(images[i : i + CHUNK]) for i in range(0, len(images), CHUNK)])
    low, high = np.array(statistics.limits).T
    return float(1 - ((values >= low) & (values <= high)).all(axis=1).mean())


@click.command(help=__doc__)
@source
@click.option("--train", default=5000, show_default=True, help="training images")
@click.option("--test", default=5000, show_default=True, help="images that are asked for")
def main(source: Path | None, train: int, test: int) -> None:
    images = sample_images(source, train + test)
    key, asked = new_key(0), images[train:]
    print(f"{train} training images, {len(asked)} asked for: {name(source)}")
    print(f"{'perturbation':<28} {'as it should be':>15} {'not perturbed':>14} {'by 1/255':>9} {'by 255':>9}")
    for method, k, scope in SETTINGS:
        made = METHODS[method](images.shape[1], k, scope, 25.0, key.stream)
        statistics = measure_inputs([torch.from_numpy(made.apply(images[:train]))])
        right = made.apply(asked)
        raw = asked if made.exact else asked / np.float32(255)  # in the unit of the model
        white = np.float32(255)
        cases = (right, raw, right / white, right * white)
        rates = [unlike(statistics, case) for case in cases]
        print(
            f"{f'{method} k={k} {scope}':<28} {rates[0]:>15.2%} {rates[1]:>14.1%} {rates[2]:>9.1%} {rates[3]:>9.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
