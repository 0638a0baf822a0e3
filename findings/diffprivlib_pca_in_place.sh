#!/usr/bin/env bash
# diffprivlib: fitting its PCA centres the caller's data in place, and `fit_transform` returns values that are off by the mean.
#
# One would guess: `PCA(copy=True)`, the default, leaves the data as it is, as scikit-learn's does; and `fit_transform(x)` is
#   `fit(x)` and then `transform(x)`, centred at 0.
# What happens: with scikit-learn 1.5 and newer, `fit` subtracts the mean from the caller's array of floats. Whatever is
#   computed of it afterwards is of other data, that lie around 0 and outside of the bounds; a second model or a mean clips them
#   there. And `transform` subtracts the mean once more, so that the training data lie elsewhere than the same records do if
#   they come later. Arrays of integers are converted, and so come out right. With scikit-learn 1.4 all is well, and the
#   requirement is >= 1.4.
# Versions: diffprivlib 0.6.6, numpy 2.4.6; scikit-learn 1.4.2 (right) and 1.6.1.
# Why: `PCA._fit_full` in diffprivlib/models/pca.py subtracts in place; scikit-learn's `PCA._fit`, which calls it, made the copy
#   before, and now leaves it to `_fit_full`.
# For users: `pca.fit(x.copy())`, then `pca.transform(x)`; never `fit_transform`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >check.py <<'PY'
import sys
import warnings

import diffprivlib
import numpy as np
import sklearn
from diffprivlib.models import PCA
from diffprivlib.tools import mean

warnings.simplefilter("ignore", FutureWarning)
right = sys.argv[1] == "right"
original = np.random.default_rng(0).uniform(2, 6, (10_000, 3))
data = original.copy()
pca = PCA(2, epsilon=1e4, bounds=(0, 8), data_norm=10, copy=True, random_state=0)
seen = pca.fit_transform(data)
later = pca.transform(original.copy())
kept = np.array_equal(data, original)
shift = np.linalg.norm(seen.mean(0) - later.mean(0))
private = mean(data, epsilon=1e3, bounds=(0, 8), axis=0, random_state=0)
print(f"diffprivlib {diffprivlib.__version__}, scikit-learn {sklearn.__version__}, numpy {np.__version__}")
print(f"  the data are as before: {kept} (expected True); their private mean is then {private.round(2)} (expected about 4)")
print(f"  mean of fit_transform(x): {seen.mean(0).round(2)}, of transform(x) of the same records: {later.mean(0).round(2)}")
whole = np.round(original).astype(int)
PCA(2, epsilon=1e4, bounds=(0, 8), data_norm=10, random_state=0).fit(whole)
if kept != right or (shift < 0.1) != right or (abs(private - 4).max() < 0.1) != right or whole.min() < 2:
    sys.exit("no longer so")
PY
for variant in right=1.4.2 wrong=1.6.1; do
  python3 -m venv "venv-$variant"
  "venv-$variant/bin/python" -m pip install --quiet --disable-pip-version-check \
    diffprivlib==0.6.6 "scikit-learn==${variant#*=}" numpy==2.4.6
  "venv-$variant/bin/python" check.py "${variant%=*}"
done
