#!/usr/bin/env bash
# OpenCV: on uint8 images `cv2.GaussianBlur` uses weights that are not those of its formula, and that need not fall to the sides.
#
# One would guess: the weights are those of `cv2.getGaussianKernel` (a Gaussian, its sum 1), the result is rounded at the end; and
#   sigma 0 is, as its documentation says, the same as sigma = 0.3*((ksize-1)*0.5 - 1) + 0.8.
# What happens, for uint8: each weight is a multiple of 1/256. The rounding error of a weight is carried to the next one, so
#   that the outer weights of a wide kernel go 0, 1, 0, 1, 2 (of 256), where the Gaussian rises. And for sizes up to 9, sigma 0
#   means a fixed table (1/4, 1/2, 1/4 for size 3), other weights than with the documented sigma; `getGaussianKernel` also has it.
# Versions: opencv-python-headless 4.14.0.94.
# Why: `getGaussianKernelFixedPoint_ED` and the tables of `getGaussianKernelBitExact` in modules/imgproc/src/smooth.dispatch.cpp.
# For users: an exact inverse, or a copy in another library, of a uint8 blur must take the weights in 1/256; or blur in float32.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check opencv-python-headless==4.14.0.94 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import cv2
import numpy as np


def response(size, sigma, dtype):
    """What is left of a line of brightness 255 across the line: the weights times 255."""
    image = np.zeros((65, 65), dtype)
    image[:, 32] = 255
    return cv2.GaussianBlur(image, (size, size), sigma)[32, 32 - size // 2 : 33 + size // 2]


print(f"opencv {cv2.__version__}")
exact, seen = response(31, 5, np.float32), response(31, 5, np.uint8)
print("size 31, sigma 5, a line of 255; expected, rounded:", *np.rint(exact).astype(int)[:8])
print("seen, uint8:                                       ", *seen[:8])
image = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
blurred = cv2.GaussianBlur(image, (31, 31), 5).astype(int)
difference = blurred - np.rint(cv2.GaussianBlur(image.astype(np.float64), (31, 31), 5)).astype(int)
print(f"seen, random image: {np.mean(difference != 0):.0%} of the values differ, by at most {np.abs(difference).max()}")
if list(seen[:5]) != [0, 1, 0, 1, 2] or np.abs(difference).max() != 1:
    sys.exit("no longer so")
for size in (3, 5, 7, 9):
    table = cv2.getGaussianKernel(size, 0).ravel()
    formula = cv2.getGaussianKernel(size, 0.3 * ((size - 1) * 0.5 - 1) + 0.8).ravel()
    print(f"size {size}, weights in 1/256; expected for sigma 0:", *(256 * formula).round(2), "seen:", *256 * table)
    if np.any(256 * table % 1) or np.array_equal(table, formula):
        sys.exit("no longer so")
PY
