#!/usr/bin/env bash
# sewar: its universal quality index of two images that have nothing in common is above 0.5, and of a noisy image near 1.
#
# One would guess: `sewar.uqi` is the index of Wang and Bovik: 1 for the same image, 0 for one that is unrelated, -1 for the
#   negative.
# What happens: unrelated noise has 0.74, a negative 0.48. Of a noisy picture, whose index is 0.21, it says 0.98. As all values
#   crowd near 1, every perturbation seems to cost little and to hide little. torchmetrics 1.9.0 is near the formula, with a
#   window of its own.
# Versions: sewar 0.4.10, numpy 2.4.6, scipy 1.17.1.
# Why: `_uqi_single` in sewar/full_ref.py has the formula for sums over a window, with the number of pixels N as a factor, but
#   fills it with the means that `scipy.ndimage.uniform_filter` gives. The squares of the means then hardly count beside N times
#   the mean of squares, and what should be a covariance is nearly the product of the brightnesses.
# For users: compute it from means, as below, or take another library; do not compare with values from papers that used sewar.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check sewar==0.4.10 numpy==2.4.6 scipy==1.17.1
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import sewar

SIDE, WINDOW = 128, 8


def index(left, right):
    """The mean of the index over all windows, by its formula."""

    def windows(values):
        views = np.lib.stride_tricks.sliding_window_view(values.astype(float), (WINDOW, WINDOW))
        return views.reshape(*views.shape[:2], -1)

    a, b = windows(left), windows(right)
    mean_a, mean_b = a.mean(-1), b.mean(-1)
    covariance = ((a - mean_a[..., None]) * (b - mean_b[..., None])).mean(-1)
    spread = a.var(-1) + b.var(-1)
    return (4 * covariance * mean_a * mean_b / (spread * (mean_a**2 + mean_b**2))).mean()


rng = np.random.default_rng(0)
noise, other = rng.integers(0, 256, (2, SIDE, SIDE), dtype=np.uint8)
rows, columns = np.mgrid[:SIDE, :SIDE]
picture = (128 + 60 * np.sin(rows / 9) * np.cos(columns / 13) + rng.integers(-3, 4, (SIDE, SIDE))).astype(np.uint8)
noisy = np.clip(picture + rng.normal(0, 25, picture.shape), 0, 255).astype(np.uint8)
print(f"sewar {version('sewar')}; the index by its formula, and seen:")
seen = {}
for name, left, right in [
    ("the same picture", picture, picture),
    ("noise of standard deviation 25", picture, noisy),
    ("unrelated noise", noise, other),
    ("the negative", noise, 255 - noise),
]:
    seen[name] = index(left, right), float(sewar.uqi(left, right))
    print(f"  {name}: {seen[name][0]:.2f}, {seen[name][1]:.2f}")
same, noised, unrelated, negative = seen.values()
right = abs(same[0] - 1) < 1e-9 and abs(unrelated[0]) < 0.02 and negative[0] < -0.9
if not right or abs(same[1] - 1) > 1e-9 or noised[1] - noised[0] < 0.4 or unrelated[1] < 0.5 or negative[1] < 0.3:
    sys.exit("no longer so")
PY
