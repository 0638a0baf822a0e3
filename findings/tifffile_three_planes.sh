#!/usr/bin/env bash
# tifffile: what `imwrite` makes of an array hangs on how many planes or channels it has: three planes become a colour image,
# two channels become as many pages as the image has rows.
#
# One would guess: a z-stack (planes, H, W) is written as pages, whatever the number of planes; an image of two channels
#   (H, W, 2) is one page, as one of three is.
# What happens: stacks of 3 and 4 planes become one page, red, green, blue (and alpha); of 2 and 5 planes, pages. (H, W, 3) is
#   one page; (H, W, 2) becomes H pages of W rows of 2 pixels each.
# Versions: tifffile 2026.3.3, numpy 2.4.6. A DeprecationWarning says so of three planes, and that later versions will not.
# For users: name `photometric="minisblack"` for stacks and channels, and `planarconfig="contig"` for (H, W, 2); a set in which the
#   number of planes differs holds grey stacks and colour images side by side.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check tifffile==2026.3.3 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import warnings
import numpy as np
import tifffile

warnings.simplefilter("ignore", DeprecationWarning)
print(f"tifffile {tifffile.__version__}; expected: planes are pages, and channels are values of a pixel")
expected = {
    (2, 32, 48): (2, "MINISBLACK", (32, 48)),
    (3, 32, 48): (1, "RGB", (3, 32, 48)),
    (4, 32, 48): (1, "RGB", (4, 32, 48)),
    (5, 32, 48): (5, "MINISBLACK", (32, 48)),
    (32, 48, 2): (32, "MINISBLACK", (48, 2)),
    (32, 48, 3): (1, "RGB", (32, 48, 3)),
}
for shape, so in expected.items():
    tifffile.imwrite("a.tif", np.zeros(shape, np.uint16))
    with tifffile.TiffFile("a.tif") as file:
        seen = (len(file.pages), file.pages[0].photometric.name, file.pages[0].shape)
    print(f"seen: {shape} as {seen[0]} page(s), {seen[1]}, each {seen[2]}")
    if seen != so:
        sys.exit("no longer so")
PY
