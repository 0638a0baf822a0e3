#!/usr/bin/env bash
# scikit-image: how strong Poisson noise is depends on how many different values an image has, not on its brightness alone.
#
# One would guess: `random_noise(image, mode="poisson")` adds the noise of counted photons, of one strength for one picture; an
#   image in [0, 1] that differs from another by a millionth gets as much.
# What happens: it counts the different values, takes the next power of two as the number of photons at white, and draws from
#   that. The 8-bit picture gets noise for 256 photons, its copy with float steps of a millionth for 262,144, which is 32 times
#   weaker; two levels get noise for 2. So an image that was resized, blurred or normalised before is perturbed much less, and
#   of a folder of images each has a noise of its own strength, which also tells how many levels the original had.
# Versions: scikit-image 0.26.0, numpy 2.4.6.
# Why: `random_noise` in skimage/util/noise.py takes the power of two from `numpy.unique`. The notes of its documentation say so
#   in one sentence, the text of the mode does not; issue 4885 of scikit-image/scikit-image asks what it is for.
# For users: `rng.poisson(image * photons) / photons` with a number of photons that is chosen, and reported.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scikit-image==0.26.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import numpy as np
import skimage
from skimage.util import random_noise

rng = np.random.default_rng(0)
levels = rng.integers(0, 256, (512, 512), dtype=np.uint8)
levels.flat[:256] = np.arange(256)
images = {
    "8 bits": levels,
    "the same as floats": levels / 255,
    "plus at most a millionth": np.clip(levels / 255 + rng.uniform(-1e-6, 1e-6, levels.shape), 0, 1),
    "16 levels": levels // 16 * 17,
    "2 levels": levels // 128 * 255,
}
print(f"scikit-image {skimage.__version__}; standard deviation of the noise (expected: about the same)")
strength = {}
for name, image in images.items():
    clean = image / 255 if image.dtype == np.uint8 else image
    strength[name] = (random_noise(image, mode="poisson", rng=0, clip=False) - clean).std()
    print(f"  {name}, {len(np.unique(image)):,} different values, mean {clean.mean():.3f}: {strength[name]:.4f}")
plain, floats, fine, sixteen, two = strength.values()
if not (abs(plain - floats) < 1e-6 and 28 < plain / fine < 36 and 3.5 < sixteen / plain < 4.5 and 10 < two / plain < 13):
    sys.exit("no longer so")
PY
