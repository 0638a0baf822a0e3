#!/usr/bin/env bash
# torchmetrics: `Accuracy(task="multiclass")` and `MulticlassAccuracy`, which it makes, are two different numbers.
#
# One would guess: `torchmetrics.Accuracy(task="multiclass", num_classes=n)` is `MulticlassAccuracy(num_classes=n)`, of which it returns an
#   instance, and both are the fraction of right answers.
# What happens: the first averages over images and the second over classes, by their defaults. Of a classifier that always names the class of
#   90 images in 100, one says 90 %, the other 50 %. So do their functions, and Precision, Recall, F1Score, Specificity and HammingDistance
#   beside their Multiclass... forms. On test sets with as many images of each class both agree, so that nothing shows before a subset is
#   measured, or a lab's own images are.
# Versions: torchmetrics 1.9.0, torch 2.13.0.
# Why: the default of `average` is "micro" in torchmetrics/classification/accuracy.py's `Accuracy.__new__`, and "macro" in
#   `MulticlassAccuracy.__init__`.
# For users: always give `average="micro"` for the fraction of right answers, and say which one a table has.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 torchmetrics==1.9.0
venv/bin/python - <<'PY'
import sys

import torch
import torchmetrics
from torchmetrics.classification import MulticlassAccuracy

labels = torch.tensor([0] * 90 + [1] * 10)
always = torch.zeros(100, dtype=torch.int64)
general = torchmetrics.Accuracy(task="multiclass", num_classes=2)
special = MulticlassAccuracy(num_classes=2)
print(f"torchmetrics {torchmetrics.__version__}; Accuracy(...) is a {type(general).__name__}")
values = {
    'Accuracy(task="multiclass")': general(always, labels),
    "MulticlassAccuracy": special(always, labels),
    'MulticlassAccuracy, average="micro"': MulticlassAccuracy(num_classes=2, average="micro")(always, labels),
}
for name, value in values.items():
    print(f"  {name}: {value:.2f}")
same = isinstance(general, MulticlassAccuracy)
if not same or [round(float(value), 2) for value in values.values()] != [0.9, 0.5, 0.9]:
    sys.exit("no longer so")
PY
