#!/usr/bin/env bash
# OpenCV: `stackBlur` makes a 16-bit image that is 60,000 everywhere one of 42,007, and of 1,000 one of 1,002.
#
# One would guess: a blur of an image of one value is that value, whatever the type and the size; the documentation names 16 bits as supported.
# What happens: on uint16 the weights of sizes such as 5, 9 and 11 add up to a little more than 1; and beyond half of the range, with 5, 7, 9
#   and 31, results are a third too small. uint8 and float32 are right, and so is uint16 with 3 and 15. OpenCV 4.14 and 5.0 agree.
# Versions: opencv-python-headless 4.14.0.94 and 5.0.0.93, numpy 2.4.6.
# Why: modules/imgproc/src/stackblur.cpp adds pairs of neighbours in 16 bits, which end at 65,535, and divides by factors that are rounded for
#   8 bits (456/4096 for 1/9).
# For users: use GaussianBlur for 16 bits, or blur float32.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > blur.py <<'PY'
import sys

import cv2
import numpy as np


def blurred(value: int, dtype: type, size: int, blur=cv2.stackBlur) -> float:
    """What an image of one value has in its middle after a blur."""
    more = (0,) if blur is cv2.GaussianBlur else ()
    return float(blur(np.full((256, 256), value, dtype), (size, size), *more)[128, 128])


seen = {(value, size): blurred(value, np.uint16, size) for value in (1_000, 60_000) for size in (3, 5, 9, 15)}
others = [blurred(60_000, np.float32, size) for size in (3, 5, 9, 15)] + [blurred(60_000, np.uint16, 5, cv2.GaussianBlur)]
print(f"OpenCV {cv2.__version__}: uint16, (value, size) to what stackBlur makes of it:")
print(" ", ", ".join(f"{key}: {value:,.0f}" for key, value in seen.items()))
print(f"  float32 and GaussianBlur keep 60,000: {all(abs(value - 60_000) < 1 for value in others)}")
if seen[60_000, 5] > 50_000 or seen[60_000, 9] > 50_000 or seen[1_000, 5] == 1_000 or seen[60_000, 15] != 60_000:
    sys.exit("no longer so")
if any(abs(value - 60_000) >= 1 for value in others):
    sys.exit("no longer so")
PY
for version in 4.14.0.94 5.0.0.93; do
  python3 -m venv "$version"
  "$version/bin/python" -m pip install --quiet --disable-pip-version-check opencv-python-headless==$version numpy==2.4.6
  "$version/bin/python" blur.py
done
