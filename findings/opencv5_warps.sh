#!/usr/bin/env bash
# OpenCV 5 rotates images otherwise than OpenCV 4: more than half of the pixels of a noisy one, by up to 5 levels; 5 is the exact one.
#
# One would guess: `cv2.warpAffine` of both is bilinear interpolation, and they differ by rounding, by one level here and there, as `resize`,
#   `GaussianBlur` and `cvtColor` of both agree to the last bit.
# What happens: OpenCV 4.14 rounds the place that each pixel comes from to 1/32 of a pixel, and is up to 5 levels off the formula; OpenCV 5.0
#   computes it exactly, to half a level. So do warpPerspective and remap. A network that was trained on images that one of them rotated or
#   undistorted sees other images from the other, and a data set that is made again has other bytes.
# Versions: opencv-python-headless 4.14.0.94 and 5.0.0.93, numpy 2.4.6; seen on an AMD EPYC.
# Why: `INTER_BITS = 5` in modules/imgproc of OpenCV 4 (issues 5819 and 26361 of opencv/opencv); OpenCV 5 has new warps without the table.
# For users: name the version of OpenCV with images that were rotated, and rotate all of a data set with one.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for version in 4.14.0.94 5.0.0.93; do
  python3 -m venv "$version"
  "$version/bin/python" -m pip install --quiet --disable-pip-version-check opencv-python-headless==$version numpy==2.4.6
done
cat > rotate.py <<'PY'
import sys

import cv2
import numpy as np

SIZE = 64
image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
matrix = cv2.getRotationMatrix2D((31.5, 31.5), 17, 1.0)
back = cv2.invertAffineTransform(matrix)
rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(float)
x, y = (line[0] * columns + line[1] * rows + line[2] for line in back)
left, top = np.floor(x).astype(int), np.floor(y).astype(int)
padded = np.pad(image.astype(float), SIZE)  # black around it, as by default
corners = [[padded[top + i + SIZE, left + j + SIZE] for j in (0, 1)] for i in (0, 1)]
u, v = x - left, y - top
exact = (1 - v) * ((1 - u) * corners[0][0] + u * corners[0][1]) + v * ((1 - u) * corners[1][0] + u * corners[1][1])
turned = cv2.warpAffine(image, matrix, (SIZE, SIZE))
error = np.abs(turned - exact)
print(f"OpenCV {cv2.__version__}: at most {error.max():.2f} levels off the formula, {(error > 1).mean():.0%} of pixels by more than one")
np.save(sys.argv[1], turned)
others = cv2.resize(image, (40, 40)), cv2.GaussianBlur(image, (5, 5), 1.1), cv2.resize(image, (200, 90), interpolation=cv2.INTER_CUBIC)
np.save(f"others-{sys.argv[1]}", np.concatenate([other.ravel() for other in others]))
np.save(f"error-{sys.argv[1]}", error.max())
PY
4.14.0.94/bin/python rotate.py four.npy
5.0.0.93/bin/python rotate.py five.npy
5.0.0.93/bin/python - <<'PY'
import sys

import numpy as np

four, five = (np.load(f"{name}.npy").astype(int) for name in ("four", "five"))
same = np.array_equal(np.load("others-four.npy"), np.load("others-five.npy"))
errors = [float(np.load(f"error-{name}.npy")) for name in ("four", "five")]
print(f"{(four != five).mean():.0%} of pixels differ, by up to {np.abs(four - five).max()} levels; resize and GaussianBlur agree: {same}")
if not ((four != five).mean() > 0.4 and errors[0] > 3 and errors[1] < 0.6 and same):
    sys.exit("no longer so")
PY
