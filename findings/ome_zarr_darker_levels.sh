#!/usr/bin/env bash
# ome-zarr: each smaller level of an image of integers is darker than the one before, and a dim image is black in all of them.
#
# One would guess: the levels of a multi-scale image show one image at several resolutions and with about the same mean, since
#   averages are rounded to the nearest integer.
# What happens: `write_image` cuts the fraction off at every level, and makes each level of the level before. On average half a
#   grey level goes each time. An image of counts (of photons, say) with a mean of 1 has a mean of about 0.5 in the first
#   smaller level and next to nothing two levels later; of an image of 0 and 1 nothing is left at all. The whole image
#   is right: only who looks at, segments, or trains on a smaller level sees less than there is. The same with the method
#   "local_mean"; floats are right.
# Versions: ome-zarr 0.18.0, zarr 3.1.6, scikit-image 0.26.0, numpy 2.4.6.
# Why: ome_zarr/dask_utils.py, `resize` and `local_mean`: what skimage computes in floats becomes integers with `astype`,
#   unrounded.
# For users: write floats, or build the levels yourself and round them; do not compare intensities across levels.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
    ome-zarr==0.18.0 zarr==3.1.6 scikit-image==0.26.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import zarr
from ome_zarr.writer import write_image

draws = np.random.default_rng(0)


def means(name: str, image: np.ndarray, **options) -> list[float]:
    """The mean of each level, from the whole image to the smallest."""
    group = zarr.open_group(name, mode="w")
    write_image(image, group, axes="yx", **options)
    levels = sorted((array for _, array in group.arrays()), key=lambda array: -array.size)
    return [float(array[:].mean()) for array in levels]


print(f"ome-zarr {version('ome-zarr')}, scikit-image {version('scikit-image')}; expected: about one mean at all levels")
counts = draws.poisson(1.0, (512, 512))
bright = draws.integers(0, 60000, (512, 512))
seen = {
    "counts, uint16": means("a.zarr", counts.astype(np.uint16)),
    "counts, uint16, local_mean": means("b.zarr", counts.astype(np.uint16), method="local_mean"),
    "counts, float32": means("c.zarr", counts.astype(np.float32)),
    "0 and 1, uint8": means("d.zarr", (counts > 0).astype(np.uint8)),
    "0 to 200, uint8": means("e.zarr", (bright // 300).astype(np.uint8)),
}
for name, levels in seen.items():
    print(f"seen: {name}: {', '.join(f'{mean:.2f}' for mean in levels)}")
dark = [seen["counts, uint16"], seen["counts, uint16, local_mean"], seen["0 and 1, uint8"]]
floats, wide = seen["counts, float32"], seen["0 to 200, uint8"]
if any(levels[1] > 0.65 * levels[0] or levels[3] > 0.05 for levels in dark) or wide[0] - wide[4] < 1.5:
    sys.exit("no longer so")
if abs(floats[0] - floats[4]) > 0.05:
    sys.exit("no longer so")
PY
