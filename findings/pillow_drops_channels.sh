#!/usr/bin/env bash
# Pillow: channels of a TIFF beyond the first three (or beyond the first, in greyscale) are dropped without a warning.
#
# One would guess: an image with five channels, as microscopes and satellites write them, is refused, or at least warned about.
# What happens: with 8 bits a value and extra channels of the kind "unspecified" (what tifffile writes unless told otherwise),
#   Pillow gives the first three as RGB, or the first of two as greyscale. The others are gone after saving.
# Versions: pillow 13.0.0, tifffile 2026.3.3. (pillow 12.0.0 refused the greyscale file.)
# Why: the table `OPEN_INFO` in PIL/TiffImagePlugin.py has entries whose raw mode ends in X ("RGBXX", "LX"): read and skip.
# For users: compare tag 277 (values per pixel) with `len(image.getbands())`; read such files with tifffile.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
venv/bin/python -W error - <<'PY'
import sys
import numpy as np
import PIL
import tifffile
from PIL import Image

print(f"pillow {PIL.__version__}; expected: an error or a warning (warnings are errors here)")
for channels, photometric, kept in ((2, "minisblack", 1), (5, "rgb", 3), (6, "rgb", 3)):
    values = np.random.default_rng(0).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    tifffile.imwrite("a.tif", values, photometric=photometric, planarconfig="contig")
    with Image.open("a.tif") as image:
        read, tag, bands = np.asarray(image), image.tag_v2[277], image.getbands()
    print(f"seen: {channels} channels, {photometric}: read as {'/'.join(bands)}, shape {read.shape}; tag 277 says {tag}")
    if len(bands) != kept or not np.array_equal(read.reshape(8, 8, kept), values[..., :kept]):
        sys.exit("no longer so")
PY
