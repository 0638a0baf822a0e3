#!/usr/bin/env bash
# ImageHash: all 16-bit images, and all float images in [0, 1], have one hash, and so pass for duplicates.
#
# One would guess: the perceptual hash of a 16-bit scan is about that of the same scan in 8 bits.
# What happens: whatever a 16-bit image shows, its average, difference, wavelet and perceptual hash are those of an image of one
#   colour, unless it has values below 255. Searching such scans for duplicates finds that each is a copy of every other; a check
#   that a training and a test set share no image fails for all pairs, or, where the hash is a key, keeps one image.
# Versions: ImageHash 4.3.2, pillow 13.0.0, numpy 2.4.6.
# Why: each function in imagehash/__init__.py begins with `image.convert("L")`, and Pillow cuts 16-bit values off at 255 there; it
#   cuts off the fraction of floats.
# For users: scale to 8 bits yourself before hashing.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check ImageHash==4.3.2 pillow==13.0.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import imagehash
import numpy as np
from PIL import Image

FUNCTIONS = imagehash.average_hash, imagehash.phash, imagehash.dhash, imagehash.whash
rows, columns = np.mgrid[:128, :128]
pictures = []
for seed in range(20):
    across, down, phase = np.random.default_rng(seed).uniform(3, 40, 3)
    pictures.append(0.5 + 0.45 * np.sin(rows / down + phase) * np.cos(columns / across))
kinds = {
    "8 bits": [Image.fromarray((picture * 255).astype(np.uint8)) for picture in pictures],
    "16 bits": [Image.fromarray((picture * 65535).astype(np.uint16)) for picture in pictures],
    "floats": [Image.fromarray(picture.astype(np.float32)) for picture in pictures],
}
print(f"ImageHash {imagehash.__version__}, pillow {version('pillow')}; different hashes of {len(pictures)} different pictures:")
counts = {}
for kind, images in kinds.items():
    counts[kind] = [len({str(function(image)) for image in images}) for function in FUNCTIONS]
    numbers = ", ".join(f"{function.__name__} {count}" for function, count in zip(FUNCTIONS, counts[kind]))
    print(f"  {'expected, ' if kind == '8 bits' else 'seen, '}{kind}: {numbers}")
if min(counts["8 bits"]) < 18 or max(counts["16 bits"]) > 1 or max(counts["floats"]) > 1:
    sys.exit("no longer so")
PY
