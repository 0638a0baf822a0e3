#!/usr/bin/env bash
# SciPy: `gaussian_filter` makes a uint8 image one level darker each time, and may change an image of one colour.
#
# One would guess: a blur keeps the mean; on uint8 the result is rounded, as `zoom` and `rotate` of the same module and OpenCV's blur do, and
#   an image of one value stays what it is.
# What happens: each axis in turn is filtered in float64 and cut to whole numbers, half a level off each time: a blur costs a level of the
#   mean, ten blurs cost ten. Where the weights add up to a little less than 1, whole images of one value come out a level lower (of 256
#   values 61 do, at sigma 0.5). `uniform_filter` and `convolve` cut off too.
# Versions: scipy 1.17.1, numpy 2.4.6.
# Why: scipy/ndimage/src/ni_support.c casts the line of doubles to the output's type without rounding; the interpolations add 0.5 first.
# For users: filter `image.astype(float)` and round once at the end; pass `output=float` where memory allows.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import numpy as np
import scipy
from scipy import ndimage

image = np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.uint8)
exact = ndimage.gaussian_filter(image.astype(float), 1.0)
blurred = ndimage.gaussian_filter(image, 1.0)
again = image
for _ in range(10):
    again = ndimage.gaussian_filter(again, 1.0)
turned, turned_exact = (ndimage.rotate(x, 17, reshape=False, mode="nearest") for x in (image, image.astype(float)))
changed = [v for v in range(256) if (ndimage.gaussian_filter(np.full((16, 16), v, np.uint8), 0.5) != v).any()]
loss, lost = exact.mean() - blurred.mean(), exact.mean() - again.mean()
rounded = bool((turned == np.clip(np.rint(turned_exact), 0, 255)).all())
print(f"scipy {scipy.__version__}: mean {image.mean():.2f}")
print(f"  blurred as float: {exact.mean():.2f}; as uint8: {blurred.mean():.2f}; ten times: {again.mean():.2f}")
print(f"  images of one value that a blur of sigma 0.5 changes: {len(changed)} of 256, such as {changed[:4]}")
print(f"  rotate rounds: {rounded}")
if not (0.9 < loss < 1.1 and lost > 9 and len(changed) > 10 and rounded):
    sys.exit("no longer so")
PY
