#!/usr/bin/env bash
# Pillow: a 16-bit RGB TIFF in separate planes opens without an error and shows other pixels.
#
# One would guess: Pillow gives the high byte of each value, as it does for a 16-bit RGB TIFF with interleaved values (it has no
#   mode for 16-bit colour), or refuses the file.
# What happens: each plane is read as if it had 8 bits a value: low and high bytes of the left half of a row stand side by side
#   as pixels. The size and the mode look right. `tifffile.imwrite` writes such a file from a (3, H, W) array of uint16.
# Versions: pillow 13.0.0, tifffile 2026.3.3.
# Why: `_setup` in PIL/TiffImagePlugin.py takes one letter of the raw mode per plane ("RGB;16L" becomes "R"), which has 8 bits.
# For users: read 16-bit TIFFs with tifffile; or look at the tags 258 (bits) and 284 (planes) before the pixels.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import numpy as np
import PIL
import tifffile
from PIL import Image

values = np.random.default_rng(0).integers(0, 65536, (3, 8, 8), dtype=np.uint16)
tifffile.imwrite("planes.tif", values, photometric="rgb")
tifffile.imwrite("interleaved.tif", np.moveaxis(values, 0, -1), photometric="rgb")
high = np.moveaxis(values >> 8, 0, -1)  # (8, 8, 3)
read = {}
for name in ("interleaved", "planes"):
    with Image.open(f"{name}.tif") as image:
        read[name] = np.asarray(image)
        print(f"pillow {PIL.__version__}, {name}: mode {image.mode}, size {image.size}")
    print(f"  red of the first row; expected: {high[0, :, 0].tolist()}, seen: {read[name][0, :, 0].tolist()}")
halves = values[0, 0, :4].astype("<u2").view(np.uint8)
print(f"  the first four 16-bit values of that row as bytes, low byte first: {halves.tolist()}")
if not np.array_equal(read["interleaved"], high) or not np.array_equal(read["planes"][0, :, 0], halves):
    sys.exit("no longer so")
if not np.array_equal(tifffile.imread("planes.tif"), values):
    sys.exit("no longer so")
PY
