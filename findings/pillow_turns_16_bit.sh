#!/usr/bin/env bash
# Pillow: a 16-bit image that is rotated with bilinear interpolation comes back as noise between 0 and 255.
#
# One would guess: `image.rotate(10, Image.Resampling.BILINEAR)`, and every `transform`, of a grey image of 16 bits (mode `I;16`, which a
#   16-bit PNG or TIFF opens in) interpolates its values; or raises an error, as for other modes that are not supported.
# What happens: an image that is 60,000 everywhere becomes bytes of about 100 and 230 by turns, without a word. NEAREST, the default, is right,
#   and so is `resize` with every filter. Data augmentation asks for BILINEAR.
# Versions: pillow 12.3.0 and 13.0.0, numpy 2.4.6.
# Why: src/libImaging/Geometry.c takes the bilinear and bicubic functions for 8 bits wherever a row holds one band of no 32 bits (issue 1127
#   of python-pillow/Pillow has a black image from it).
# For users: convert to `F` before, and round after; or rotate with OpenCV or SciPy.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > rotate.py <<'PY'
import sys

import numpy as np
import PIL
from PIL import Image

image = Image.fromarray(np.full((64, 64), 60_000, np.uint16))
assert image.mode == "I;16"
middle = slice(24, 40)
seen = {}
for name in ("NEAREST", "BILINEAR", "BICUBIC"):
    turned = np.asarray(image.rotate(10, Image.Resampling[name]))
    assert turned.dtype == np.uint16
    seen[name] = int(turned[middle, middle].min()), int(turned[middle, middle].max())
half = np.asarray(image.transform((64, 64), Image.Transform.AFFINE, (1, 0, 0.5, 0, 1, 0.5), Image.Resampling.BILINEAR))
resized = np.asarray(image.resize((50, 70), Image.Resampling.BICUBIC))
as_float = np.asarray(image.convert("F").rotate(10, Image.Resampling.BILINEAR))[middle, middle]
print(f"Pillow {PIL.__version__}: 60,000 everywhere, in the middle after rotate by 10 degrees: {seen}")
print(f"  moved by half a pixel: {half[30, 30]}; resized: {resized.min()}; as floats: {as_float.min():.0f}")
right = seen["NEAREST"] == (60_000, 60_000) and resized.min() == resized.max() == 60_000 and as_float.min() == 60_000
if not right or max(seen["BILINEAR"] + seen["BICUBIC"]) > 255 or half[30, 30] > 255:
    sys.exit("no longer so")
PY
for version in 12.3.0 13.0.0; do
  python3 -m venv "$version"
  "$version/bin/python" -m pip install --quiet --disable-pip-version-check pillow==$version numpy==2.4.6
  "$version/bin/python" rotate.py
done
