#!/usr/bin/env bash
# OpenCV 5: an image may have 128 channels, where OpenCV 4 took 512; and `cv2.convertFp16` is gone, while arithmetic takes float16.
#
# One would guess: a new major version takes what the old one took, or its notes on migration name the limit.
# What happens: filters of an array with 129 to 512 channels, which is how many grey or colour images are filtered in one call, worked in
#   4.14 and raise an error in 5.0 (from 513 on, 4.14 gives a single channel back, silently). `cv2.convertFp16` raised no deprecation warning in 4.14 and is no attribute of 5.0;
#   there `cv2.subtract(..., dtype=cv2.CV_16F)` converts, which 4.14 refuses. So no one line does it in both.
# Versions: opencv-python-headless 4.14.0.94 and 5.0.0.93.
# Why: CV_CN_MAX, the number of channels that an image type has bits for, became smaller.
# For users: filter at most 128 channels at once (42 colour images), and convert to float16 by arithmetic from OpenCV 5 on.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > look.py <<'PY'
import warnings

import cv2
import numpy as np

warnings.simplefilter("error")


def works(do):
    try:
        do()
    except (cv2.error, AttributeError):
        return "raises"
    return "works"


def blur(channels):
    image = np.zeros((32, 32, channels), np.uint8)
    try:
        return "works" if cv2.GaussianBlur(image, (3, 3), 1.0).shape == image.shape else "drops-channels"
    except cv2.error:
        return "raises"


values = np.linspace(-2, 2, 9, dtype=np.float32).reshape(1, -1)
out = np.empty(values.shape, np.float16)
convert = works(lambda: cv2.convertFp16(values))
subtract = works(lambda: cv2.subtract(values, 0.0, out, dtype=cv2.CV_16F))
print(cv2.__version__, *(f"{n}:{blur(n)}" for n in (128, 129, 512, 513)), f"convertFp16:{convert}", f"subtract:{subtract}")
PY
seen=""
for version in 4.14.0.94 5.0.0.93; do
  python3 -m venv "venv-$version"
  "venv-$version/bin/python" -m pip install --quiet --disable-pip-version-check "opencv-python-headless==$version" numpy==2.4.6
  line=$("venv-$version/bin/python" look.py)
  echo "$line"
  seen+="${line#* }"$'\n'
done
expected="128:works 129:works 512:works 513:drops-channels convertFp16:works subtract:raises
128:works 129:raises 512:raises 513:raises convertFp16:raises subtract:works
"
if [ "$seen" != "$expected" ]; then
  echo "no longer so"
  exit 1
fi
