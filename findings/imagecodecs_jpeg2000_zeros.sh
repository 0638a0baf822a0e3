#!/usr/bin/env bash
# imagecodecs, tifffile: lossless JPEG 2000 makes a black uint32 image one of ones, and ruins label images in tiles.
#
# One would guess: `jpeg2k_encode` without a level, or with `reversible=True`, is lossless for each type that it takes. For
#   large values one may doubt (its docstring asks whether "(u)int32 must contain <= 26-bits data"), but not for labels below
#   ten.
# What happens: a uint32 image of zeros comes back as ones. In a mask with a background of 0 most of the background is 1
#   afterwards, so that `labels > 0` is nearly everywhere; in the tiles of a TIFF that tifffile writes with
#   `compression="jpeg2000"`, labels below ten come back as numbers up to 67,108,863. The same values as uint8, uint16 or int32
#   are right. No error, no warning.
# Versions: imagecodecs 2026.3.6 (OpenJPEG 2.5.4), tifffile 2026.3.3, numpy 2.4.6.
# Why: `jpeg2k_encode` (imagecodecs/_jpeg2k.pyx) gives 32-bit data a precision of 26 bits. Zero is then stored as -2**25, which
#   OpenJPEG multiplies by 64 (`opj_t1_cblk_encode_processor` in t1.c): just the one number of 32 bits that has no opposite, and
#   `opj_t1_encode_cblk` takes the next one; what the wavelet makes of edges lies below, and wraps round. See the issue 1432 of
#   uclouvain/openjpeg. `bitspersample=8` does not help, 24 does.
# For users: store labels as uint16 or int32, or pass `bitspersample=24`; read back what a lossless codec has written.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check imagecodecs==2026.3.6 tifffile==2026.3.3 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import warnings

import imagecodecs
import numpy as np
import tifffile

warnings.simplefilter("error")


def again(image: np.ndarray, **options) -> np.ndarray:
    back = imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(image, reversible=True, **options))
    assert back.shape == image.shape and back.dtype == image.dtype
    return back


print(f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpeg2k_version()}; expected: each image as it was")
black = again(np.zeros((64, 64), np.uint32))
print(f"seen: zeros of uint32 come back as {np.unique(black).tolist()}")
labels = np.zeros((256, 256), np.uint32)
labels[100:120, 90:130], labels[30:50, 200:220] = 7, 3
mask = again(labels)
print(f"seen: labels 0, 3 and 7: {(labels > 0).mean():.1%} are above 0 before, {(mask > 0).mean():.1%} after")
tifffile.imwrite("labels.tif", labels, compression="jpeg2000", tile=(64, 64))
tiles = tifffile.imread("labels.tif")
print(f"seen: in tiles of a TIFF {(tiles != labels).mean():.1%} of the labels are others, the largest is {tiles.max()}")
right = all(np.array_equal(again(labels.astype(kind)), labels) for kind in (np.uint8, np.uint16, np.int32))
right &= np.array_equal(again(labels, bitspersample=24), labels)
print(f"seen: as uint8, uint16, int32, or with bitspersample=24: {'as it was' if right else 'not as it was'}")
if not (black == 1).all() or (mask > 0).mean() < 0.5 or tiles.max() < 1000 or not right:
    sys.exit("no longer so")
PY
