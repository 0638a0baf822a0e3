#!/usr/bin/env bash
# imbalanced-learn: SMOTE makes noise between 0 and 255 of uint8 images.
#
# One would guess: a synthetic record lies on the line between two records of the small class. Images whose pixels are all
#   between 100 and 119 give images with pixels between 100 and 119, whatever the type of the array; uint8 comes back as uint8.
# What happens: wherever the neighbour's pixel is the darker one, the synthetic pixel is brighter by up to 255, and may wrap
#   around once more. Here nearly half of the synthetic pixels are outside of all the pixels of their class. The type comes back
#   as it was, so that nothing looks odd; the same array as floats is right. uint16 likewise. `BorderlineSMOTE`, `SVMSMOTE` and
#   `KMeansSMOTE` share the code.
# Versions: imbalanced-learn 0.14.2, scikit-learn 1.9.1, numpy 2.4.6.
# Why: `_generate_samples` in imblearn/over_sampling/_smote/base.py subtracts records in the type of the data.
# For users: `astype(float)` before, then round.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check imbalanced-learn==0.14.2 scikit-learn==1.9.1 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import imblearn
import numpy as np
import sklearn
from imblearn.over_sampling import SMOTE

rng = np.random.default_rng(0)
large, small = rng.integers(0, 256, (200, 64)), rng.integers(100, 120, (20, 64))
images, labels = np.concatenate([large, small]), np.repeat([0, 1], [200, 20])
print(f"imbalanced-learn {imblearn.__version__}, scikit-learn {sklearn.__version__}, numpy {np.__version__}")
print(f"the small class has pixels from {small.min()} to {small.max()}; expected: its synthetic images too")
outside = {}
for dtype in (np.uint8, np.uint16, float):
    resampled, _ = SMOTE(random_state=0).fit_resample(images.astype(dtype), labels)
    made = resampled[len(images):]
    outside[dtype] = float(((made < small.min()) | (made > small.max())).mean())
    print(f"  seen: {np.dtype(dtype)} gives {made.dtype} from {made.min():.0f} to {made.max():.0f}, {outside[dtype]:.0%} outside")
if outside[np.uint8] < 0.3 or outside[np.uint16] < 0.3 or outside[float]:
    sys.exit("no longer so")
PY
