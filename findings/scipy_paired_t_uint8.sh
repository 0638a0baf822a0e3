#!/usr/bin/env bash
# SciPy: the paired t-test of uint8 samples finds differences that are not there, and `tmean` of uint8 is not the mean.
#
# One would guess: `scipy.stats.ttest_rel(a, b)` does not depend on the type of whole numbers, as `wilcoxon`, `ttest_ind` and
#   nearly all of `scipy.stats` do not; and `tmean` without limits is the mean.
# What happens: with uint8 each negative difference becomes a large positive one. Of two rows of grey levels with the same mean
#   the test says p < 1e-20, and of one that is clearly darker that it is brighter. `pingouin.ttest(paired=True)` hands on the
#   same numbers. `tmean` of 1,000 pixels with a mean of 128 is below 1, as their sum and their number both wrap around in uint8;
#   `kstat` is wrong too.
# Versions: scipy 1.17.1, numpy 2.4.6.
# Why: scipy/stats/_stats_py.py: `ttest_rel` is `ttest_1samp(a - b, ...)`; `tmean` sums with `dtype=a.dtype`.
# For users: `astype(float)`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import numpy as np
import scipy
from scipy import stats

rng = np.random.default_rng(0)
before = rng.integers(60, 200, 1000, dtype=np.uint8)
same = (before + rng.integers(-9, 10, 1000)).astype(np.uint8)
darker = (before + rng.integers(-12, 7, 1000)).astype(np.uint8)
print(f"scipy {scipy.__version__}, numpy {np.__version__}")
results = {}
for name, after in ("with noise", same), ("darker by 3", darker):
    right = stats.ttest_rel(after.astype(float), before.astype(float))
    results[name] = right, stats.ttest_rel(after, before)
    print(f"  {name}: expected t = {right.statistic:.1f}, p = {right.pvalue:.2g}; "
          f"seen t = {results[name][1].statistic:.1f}, p = {results[name][1].pvalue:.2g}")
    ranks = stats.wilcoxon(after, before).pvalue, stats.wilcoxon(after.astype(float), before.astype(float)).pvalue
    assert np.isclose(*ranks)
mean = float(stats.tmean(before))
print(f"  tmean: expected {before.mean():.1f}, seen {mean:.3f}")
noise, dark = results.values()
if noise[0].pvalue < 0.01 or noise[1].pvalue > 1e-20 or dark[0].statistic > -5 or dark[1].statistic < 5 or mean > 5:
    sys.exit("no longer so")
PY
