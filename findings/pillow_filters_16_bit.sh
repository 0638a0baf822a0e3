#!/usr/bin/env bash
# Pillow 12.3: filters of 16-bit images, and moving one round by `ImageChops.offset`, give other images, without a word.
#
# One would guess: a mode that a function does not support raises an error ("wrong mode"), as many do for `I;16`; what comes back is right.
# What happens: `image.filter(ImageFilter.BLUR)` of a 16-bit grey image in Pillow 12.3.0 leaves a mean of a few thousand where the image had
#   32,000, of SHARPEN fewer than a tenth of the pixels are right, and `ImageChops.offset` puts single bytes elsewhere, so that no pixel is. Pillow 13.0.0
#   gets all three right, so that an upgrade changes what was made before. Resizing and cropping are right in both.
# Versions: pillow 12.3.0 and 13.0.0, numpy 2.4.6.
# Why: src/libImaging/Filter.c cut off the high byte of each result, Offset.c moved bytes and not values (pull requests 9786 and 9975 of
#   python-pillow/Pillow); before filters knew the mode at all, they refused it.
# For users: whoever blurred or sharpened 16-bit micrographs with Pillow before 13 makes them again; elsewhere convert to float (`F`) first.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > filter.py <<'PY'
import sys

import numpy as np
import PIL
from PIL import Image, ImageChops, ImageFilter

values = np.random.default_rng(0).integers(0, 65536, (64, 64)).astype(np.uint16)
image = Image.fromarray(values)
assert image.mode == "I;16"
sharpen = np.array([[-2, -2, -2], [-2, 32, -2], [-2, -2, -2]]) / 16
around = np.lib.stride_tricks.sliding_window_view(values.astype(float), (3, 3))
expected = np.clip((around * sharpen).sum(axis=(2, 3)), 0, 65535)
right = float((np.abs(np.asarray(image.filter(ImageFilter.SHARPEN))[1:-1, 1:-1] - expected) <= 1).mean())
moved = float((np.asarray(ImageChops.offset(image, 5, 7)) == np.roll(values, (7, 5), (0, 1))).mean())
blurred = float(np.asarray(image.filter(ImageFilter.BLUR)).mean())
print(
    f"Pillow {PIL.__version__}: SHARPEN right at {right:.0%} of pixels, offset at {moved:.0%}; mean {values.mean():,.0f}, blurred {blurred:,.0f}"
)
before = sys.argv[1] == "before"
so = right < 0.5 and moved < 0.01 and blurred < 16_000 if before else right == moved == 1 and abs(blurred / values.mean() - 1) < 0.05
sys.exit(0 if so else "no longer so")
PY
for version in before=12.3.0 after=13.0.0; do
  python3 -m venv "${version%%=*}"
  "${version%%=*}/bin/python" -m pip install --quiet --disable-pip-version-check "pillow==${version#*=}" numpy==2.4.6
  "${version%%=*}/bin/python" filter.py "${version%%=*}"
done
