#!/usr/bin/env bash
# mlxtend: McNemar's test of a classifier against itself says p = 0, the strongest difference there can be.
#
# One would guess: two models that predict the same for every record do not differ, so that p is 1, as the exact test says.
# What happens: `mcnemar(table)` returns chi2 = inf and p = 0.0, with a NumPy warning of a division as the only hint. A loop
#   over many pairs of models that takes p < 0.05 finds the pair that never disagrees as the surest difference. One record of
#   disagreement gives p = 1. Without the correction p is nan, with `exact=True` 1.0. `mcnemar(exact=False)` of statsmodels
#   0.15.0 says 0.0 as well, but there the exact test is the default.
# Versions: mlxtend 0.25.0, statsmodels 0.15.0, scipy 1.17.1, numpy 2.4.6.
# Why: `mcnemar` in mlxtend/evaluate/mcnemar.py computes (abs(b - c) - 1) ** 2 / (b + c). Edwards's correction, which should
#   bring the difference nearer to 0, makes (0 - 1) ** 2 of a difference of 0; divided by 0 that is infinite.
# For users: `mcnemar(table, exact=True)`, or take p = 1 where both counts off the diagonal are 0.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
    mlxtend==0.25.0 statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6
venv/bin/python - <<'PY'
import math
import sys
import warnings
from importlib.metadata import version

import numpy as np
from mlxtend.evaluate import mcnemar, mcnemar_table
from statsmodels.stats.contingency_tables import mcnemar as of_statsmodels

warnings.simplefilter("ignore", RuntimeWarning)
truth = np.array([0, 1] * 50)
model = truth.copy()
model[:10] = 1 - model[:10]  # right for 90 of 100
other = model.copy()
other[50] = 1 - other[50]  # wrong for one more
same, near = mcnemar_table(truth, model, model), mcnemar_table(truth, model, other)
chi2, p = mcnemar(same)
print(f"mlxtend {version('mlxtend')}, statsmodels {version('statsmodels')}")
print(f"  against itself, table {same.tolist()}: expected p = 1; seen chi2 = {chi2}, p = {p}")
exact, plain, one = mcnemar(same, exact=True)[1], mcnemar(same, corrected=False)[1], mcnemar(near)[1]
print(f"  exact: p = {exact}; without the correction: p = {plain}; with one record of disagreement: p = {one}")
chi2_of_statsmodels = of_statsmodels(same, exact=False).pvalue
print(f"  statsmodels: p = {of_statsmodels(same).pvalue}, with exact=False {chi2_of_statsmodels}")
if p != 0 or chi2_of_statsmodels != 0 or exact != 1 or one != 1 or not math.isnan(plain):
    sys.exit("no longer so")
PY
