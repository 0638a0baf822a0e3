#!/usr/bin/env bash
# torchmetrics: the SSIM of a pair of images depends on which other pairs are in the batch.
#
# One would guess: with reduction="none" each pair has its SSIM, whatever stands beside it; and that floats are taken for 0..1, or each
#   pair for what lies between its own least and greatest value ("determined from the image", as the documentation has it).
# What happens: without `data_range` the range is that of all images given at once, so a faint pair scores otherwise beside a bright one.
# Versions: torchmetrics 1.9.0, torch 2.13.0, numpy 2.4.6.
# Why: torchmetrics/functional/image/ssim.py takes the maximum less the minimum of the whole tensors.
# For users: give `data_range`. Figures without it change with the batch size, the order of the images and the last, smaller batch; where
#   reconstructions are compared with originals, a method whose images are faint or beyond the range scores by another rule.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
venv/bin/python - <<'PY'
import sys

import torch
import torchmetrics
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

draws = torch.Generator().manual_seed(0)
faint = 0.45 + 0.1 * torch.rand((1, 3, 32, 32), generator=draws)
noisy = faint + 0.02 * torch.randn(faint.shape, generator=draws)
black_and_white = torch.zeros_like(faint)
black_and_white[..., ::2] = 1

print(f"torchmetrics {torchmetrics.__version__}; expected: one SSIM for one pair")
alone = ssim(noisy, faint, reduction="none")[0].item()
pairs = torch.cat([noisy, black_and_white]), torch.cat([faint, black_and_white])
beside = ssim(*pairs, reduction="none")[0].item()
stated = ssim(*pairs, reduction="none", data_range=1.0)[0].item()
print(f"seen: {alone:.3f} alone, {beside:.3f} beside another pair; {stated:.3f} with data_range=1.0")
if beside - alone < 0.01 or abs(beside - stated) > 1e-3:
    sys.exit("no longer so")
PY
