#!/usr/bin/env bash
# krippendorff: Krippendorff's alpha of raters who nearly agree is about 0 when their grades are unsigned.
#
# One would guess: alpha does not depend on the type of the array: three raters whose grades from 0 to 100 are each within 3 of
#   the truth have an interval alpha of 0.996.
# What happens: with uint8 it is 0.01, with uint16 0.21: the raters seem to agree little better than by chance. The ratio alpha
#   is -2.6. With int64 and floats all are right, and nominal and ordinal alpha are right for every type.
# Versions: krippendorff 0.9.0, numpy 2.4.6.
# Why: `_interval_metric` in krippendorff/krippendorff.py is `(v1 - v2).astype(dtype) ** 2`: it widens after the difference, in
#   which 1 - 2 is 255.
# For users: `astype(float)`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check krippendorff==0.9.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import krippendorff
import numpy as np

rng = np.random.default_rng(0)
truth = rng.integers(0, 101, 60)
grades = np.clip(truth + rng.integers(-3, 4, (3, 60)), 0, 100)
levels = "nominal", "ordinal", "interval", "ratio"
print(f"krippendorff {version('krippendorff')}, numpy {np.__version__}; alpha, expected to be one for all types:")
seen = {}
for dtype in float, np.int8, np.uint8, np.uint16:
    alphas = [float(krippendorff.alpha(reliability_data=grades.astype(dtype), level_of_measurement=level)) for level in levels]
    seen[dtype] = dict(zip(levels, alphas))
    print(f"  {np.dtype(dtype)}: {', '.join(f'{level} {alpha:.3f}' for level, alpha in seen[dtype].items())}")
right, wrong = seen[float], seen[np.uint8]
if right["interval"] < 0.98 or abs(seen[np.int8]["interval"] - right["interval"]) > 1e-9 or wrong["interval"] > 0.1:
    sys.exit("no longer so")
if wrong["ratio"] > 0 or abs(wrong["ordinal"] - right["ordinal"]) > 1e-9:
    sys.exit("no longer so")
PY
