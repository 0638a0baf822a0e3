#!/usr/bin/env bash
# torchmetrics: the AUROC of scores that are no probabilities is another number, and depends on how they come in batches.
#
# One would guess: `BinaryAUROC` looks at the order of scores alone. Its documentation says that a sigmoid is applied where
#   scores lie outside [0, 1], which keeps the order; so losses, distances or likelihood ratios of an attack may be given as
#   they are.
# What happens: in float32 the sigmoid of all scores above 17 is 1. Scores of 10 to 80 that tell members from others without a
#   mistake have an AUROC of 0.63: an attack looks much weaker than it is. And each `update` decides anew: a batch whose scores
#   all lie in [0, 1] stays as it is, the next one is squeezed, and the two are then compared. So do `BinaryROC`, average
#   precision and the other curves, and the thresholds that the ROC names are none of the scores.
# Versions: torchmetrics 1.9.0, torch 2.13.0.
# Why: `normalize_logits_if_needed` in torchmetrics/utilities/compute.py, called from `_binary_precision_recall_curve_format` in
#   functional/classification/precision_recall_curve.py. Issues 2195 (batches) and 2819 (large scores) of
#   Lightning-AI/torchmetrics are open.
# For users: give ranks divided by their number, all at once, or use scikit-learn's `roc_auc_score`.
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
from torchmetrics.classification import BinaryAUROC


def area(scores, member, size):
    metric = BinaryAUROC()
    for start in range(0, len(scores), size):
        metric.update(scores[start : start + size], member[start : start + size])
    return metric.compute().item()


def pairs(scores, member):
    """The fraction of pairs of a member and another that are in the right order; half for a tie."""
    difference = scores[member == 1][:, None] - scores[member == 0][None]
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean().item()


large = torch.arange(10.0, 90.0, 10.0)
member = torch.tensor([0] * 4 + [1] * 4)
generator = torch.Generator().manual_seed(0)
mixed = torch.rand(1000, generator=generator) * 2
mixed_member = (mixed + torch.randn(1000, generator=generator) > 1).long()
print(f"torchmetrics {torchmetrics.__version__}; the AUROC from all pairs, and seen:")
print(f"  scores {large.int().tolist()}, members last: {pairs(large, member):.3f}, {area(large, member, 8):.3f}")
print(f"  the same divided by 100: {pairs(large / 100, member):.3f}, {area(large / 100, member, 8):.3f}")
seen = {size: area(mixed, mixed_member, size) for size in (1000, 10, 1)}
for size in seen:
    print(f"  1,000 scores between 0 and 2, in batches of {size}: {pairs(mixed, mixed_member):.3f}, {seen[size]:.3f}")
squeezed = abs(area(large, member, 8) - 0.625) < 0.001 and area(large / 100, member, 8) == 1
if not squeezed or abs(seen[1000] - pairs(mixed, mixed_member)) > 0.001 or abs(seen[1] - seen[1000]) < 0.01:
    sys.exit("no longer so")
PY
