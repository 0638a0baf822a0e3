#!/usr/bin/env bash
# JPEG XR: its lossless mode keeps float16 and integers, and rounds float32.
#
# One would guess: a codec whose highest quality is exact for 8 and 16 bits is exact for float32 too, as JPEG XL and LERC are; TIFF
#   files of floats can be written with `compression="jpegxr"` like with any other.
# What happens: of float32 values fewer than a hundredth come back as they were, at quality 1.0 as by default; they are rounded to 13 bits
#   of mantissa, which is 0.00003 of values up to 1. Nothing says so. float16 and integers are exact.
# Versions: imagecodecs 2026.3.6, tifffile 2026.3.3, numpy 2.4.6.
# Why: the transform of JPEG XR that can be undone is of integers; float32 is converted to fewer bits before it, and jxrlib takes 13.
# For users: keep scientific floats in `zstd`, `jpegxl` or `lerc`; in JPEG XR only those that were float16.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check imagecodecs==2026.3.6 tifffile==2026.3.3 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import imagecodecs
import numpy as np
import tifffile

draws = np.random.default_rng(0)
floats = draws.random((256, 256), np.float32)
images = {
    "uint16": draws.integers(0, 65536, (256, 256), np.uint16),
    "float16": floats.astype(np.float16),
    "float32": floats,
}


def kept(image: np.ndarray, compression: str, **options: float) -> tuple[float, float]:
    """The fraction of values that come back exactly, and the largest error."""
    tifffile.imwrite("image.tif", image, compression=compression, photometric="minisblack", compressionargs=options)
    back = tifffile.imread("image.tif")
    assert back.dtype == image.dtype and back.shape == image.shape
    return float((back == image).mean()), float(np.abs(back.astype(float) - image).max())


print(f"imagecodecs {imagecodecs.__version__}, tifffile {tifffile.__version__}")
seen = {name: kept(image, "jpegxr", level=1.0) for name, image in images.items()}
for name, (exact, error) in seen.items():
    print(f"jpegxr at quality 1.0, {name}: {exact:.2%} of values exact, largest error {error:.6g}")
default, other = kept(floats, "jpegxr"), kept(floats, "jpegxl")
print(f"jpegxr by default, float32: {default[0]:.2%}; jpegxl by default, float32: {other[0]:.2%}")
exact = seen["uint16"][0] == seen["float16"][0] == other[0] == 1
if not exact or default[0] > 0.01 or not (0 < seen["float32"][0] < 0.01 and 1e-5 < seen["float32"][1] < 1e-4):
    sys.exit("no longer so")
PY
