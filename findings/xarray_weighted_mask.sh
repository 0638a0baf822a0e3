#!/usr/bin/env bash
# xarray: the mean of an image weighted by a uint8 mask is a number of no meaning, of float images too.
#
# One would guess: `image.weighted(mask).mean()` with a mask of 0 and 1 is the mean of the pixels within the mask; masks come
#   as uint8 from most files, and `image.mean()` itself is right for uint8.
# What happens: the sum of the weights is taken in uint8 and is what is left of it modulo 256: a mask of 3,004 pixels weighs 188,
#   so that the mean of a float32 image is 16 times too large. Of a uint8 image the sum of the pixels wraps around as well, with a
#   mask of booleans too, and the mean comes out near 0. There is no warning. `std` and `sum` are
#   wrong too.
# Versions: xarray 2026.9.0, numpy 2.4.6, pandas 3.1.1.
# Why: xarray/computation/weighted.py: `_reduce` is `dot(da, weights)`, which keeps the type where `sum` would widen it;
#   `_sum_of_weights` widens only weights of booleans.
# For users: `image.astype(float).weighted(mask.astype(float))`, or `image.where(mask).mean()`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check xarray==2026.9.0 numpy==2.4.6 pandas==3.1.1
venv/bin/python - <<'PY'
import sys

import numpy as np
import xarray as xr

rng = np.random.default_rng(0)
image = rng.integers(0, 256, (100, 100), dtype=np.uint8)
mask = (rng.random((100, 100)) < 0.3).astype(np.uint8)
right = image[mask == 1].mean()
print(f"xarray {xr.__version__}, numpy {np.__version__}; the mask has {mask.sum()} pixels, the expected mean is {right:.2f}")
seen = {}
for pixels, weights in (np.uint8, np.uint8), (np.uint8, bool), (np.uint16, np.uint8), (np.float32, np.uint8), (np.float32, float):
    weighted = xr.DataArray(image.astype(pixels)).weighted(xr.DataArray(mask.astype(weights)))
    name = f"{np.dtype(pixels)} image, {np.dtype(weights)} mask"
    seen[name] = weighted.mean().item()
    print(f"  seen: {name}: {seen[name]:.4g}, weights {weighted.sum_of_weights().item():.0f}")
plain = xr.DataArray(image).where(xr.DataArray(mask == 1)).mean().item()
*wrong, floats = seen.values()
if any(abs(value - right) < 50 for value in wrong) or abs(floats - right) > 0.01 or abs(plain - right) > 0.01:
    sys.exit("no longer so")
PY
