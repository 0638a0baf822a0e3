#!/usr/bin/env bash
# OpenCV 5 takes uint32 images, and their mean is wrong; int64 and uint64 it cuts to 32 bits without a word, as OpenCV 4 did.
#
# One would guess: OpenCV 5, which has types of 32 unsigned and of 64 bits, computes with them, or raises an error where it does not, as
#   OpenCV 4 does for uint32. The mean of an image of one value is that value.
# What happens: of an image that is 3,000,000,000 everywhere, as uint32, `cv2.mean` is 852,516,352 and `sumElems` as far off, while
#   `norm`, `minMaxLoc` and `resize` are right. NumPy's int64, which labels and sums come in, becomes int32 on the way in: the same image
#   has the mean -1,252,017,623 and the least value -1,294,967,296, in 4.14 as in 5.0.
# Versions: opencv-python-headless 4.14.0.94 and 5.0.0.93, numpy 2.4.6.
# Why: modules/core adds up uint32 in 32 bits; modules/python converts NPY_LONG to CV_32S ("needcast") as before.
# For users: sum in NumPy, and hand labels and counts to OpenCV as float64 or int32 that they fit.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > mean.py <<'PY'
import sys

import cv2
import numpy as np

VALUE = 3_000_000_000
image = np.full((10, 10), VALUE)
wide = image.astype(np.int64)
cut = cv2.mean(wide)[0], cv2.minMaxLoc(wide)[0]
print(f"OpenCV {cv2.__version__}: {VALUE:,} everywhere, as int64: mean {cut[0]:,.0f}, least value {cut[1]:,.0f}")
if cut[0] >= 0 or cut[1] >= 0:
    sys.exit("no longer so")
unsigned = image.astype(np.uint32)
try:
    mean = cv2.mean(unsigned)[0]
except cv2.error:
    print("  uint32: refused")
    sys.exit(0 if cv2.__version__.startswith("4.") else "no longer so")
largest, norm = cv2.minMaxLoc(unsigned)[1], cv2.norm(unsigned, cv2.NORM_L1)
print(f"  uint32: mean {mean:,.0f}, largest value {largest:,.0f}, sum by norm {norm:,.0f}")
if mean == VALUE or largest != VALUE or norm != 100 * VALUE:
    sys.exit("no longer so")
PY
for version in 4.14.0.94 5.0.0.93; do
  python3 -m venv "$version"
  "$version/bin/python" -m pip install --quiet --disable-pip-version-check opencv-python-headless==$version numpy==2.4.6
  "$version/bin/python" mean.py
done
