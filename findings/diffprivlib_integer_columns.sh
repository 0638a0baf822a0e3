#!/usr/bin/env bash
# diffprivlib: the private mean of columns of whole numbers loses its fraction: shares of ones become 0.
#
# One would guess: `diffprivlib.tools.mean(x, axis=0)` is `numpy.mean(x, axis=0)` with noise, and the mean of whole numbers has
#   a fraction, as it has for each column alone.
# What happens: with `axis`, the result has the type of the data. Of columns of zeros and ones, of which 90 % and 50 % are ones,
#   the means are 0 and 0; of bytes they are cut to whole numbers. `dtype=float`, which numpy would heed, changes nothing. `var`
#   is cut likewise, `std` is the root of a variance that was cut. Epsilon is spent all the same, and no warning is given.
#   Without `axis`, or of floats, all is well.
# Versions: diffprivlib 0.6.6, numpy 2.4.6, scikit-learn 1.6.1.
# Why: `_wrap_axis` in diffprivlib/tools/utils.py collects the results in an array made by `numpy.zeros_like` of the data.
# For users: `mean(x.astype(float), axis=0)`, for masks, labels, counts and uint8 images.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check diffprivlib==0.6.6 numpy==2.4.6 scikit-learn==1.6.1
venv/bin/python - <<'PY'
import sys
import warnings

import diffprivlib
import numpy as np
from diffprivlib import tools

warnings.simplefilter("error")
COUNT = 10_000
flags = np.zeros((COUNT, 2), dtype=np.int64)
flags[: COUNT * 9 // 10, 0] = 1
flags[: COUNT // 2, 1] = 1
levels = np.random.default_rng(0).integers(0, 256, (COUNT, 2), dtype=np.uint8)


def private(function, values, high, **options):
    return function(values, epsilon=10, bounds=(0, high), random_state=0, **options)


seen = private(tools.mean, flags, 1, axis=0)
typed = private(tools.mean, flags, 1, axis=0, dtype=float)
floats = private(tools.mean, flags.astype(float), 1, axis=0)
alone = [private(tools.mean, column, 1) for column in flags.T]
grey, grey_floats = private(tools.mean, levels, 255, axis=0), private(tools.mean, levels.astype(float), 255, axis=0)
var, var_floats = private(tools.var, levels, 255, axis=0), private(tools.var, levels.astype(float), 255, axis=0)
print(f"diffprivlib {diffprivlib.__version__}, numpy {np.__version__}; the share of ones is {flags.mean(axis=0)}")
print(f"  private mean, axis=0, integers: {seen}; with dtype=float: {typed}")
print(f"  private mean, axis=0, the same as floats: {floats.round(3)}; each column alone: {np.round(alone, 3)}")
print(f"  bytes: mean {grey} instead of {grey_floats.round(2)}, variance {var} instead of {var_floats.round(2)}")
right = all(np.abs(np.subtract(value, flags.mean(axis=0))).max() < 0.01 for value in (floats, alone))
cut = np.array_equal(grey, grey_floats.astype(np.uint8)) and np.array_equal(var % 1, [0, 0])
if not right or not cut or seen.tolist() != [0, 0] or typed.tolist() != [0, 0]:
    sys.exit("no longer so")
PY
