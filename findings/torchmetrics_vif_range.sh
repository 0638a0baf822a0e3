#!/usr/bin/env bash
# torchmetrics: the visual information fidelity of noisy images is that of perfect ones, or better, if pixels are in [0, 1].
#
# One would guess: `visual_information_fidelity` is 1 for the same image and falls with noise, whatever the range of the pixels;
#   no range is asked for, and none is named in the documentation. Images in PyTorch are mostly floats in [0, 1].
# What happens: with noise of standard deviation 0.05 on an image in [0, 1] it is 1.001, above that of the image itself. The
#   same two images times 255 have 0.36. Noise of 0.2 gives 0.92 and 0.09. A model that leaves the noise in comes out
#   as one without fault.
# Versions: torchmetrics 1.9.0, torch 2.13.0, numpy 2.4.6.
# Why: `_vif_per_channel` in torchmetrics/functional/image/vif.py adds `sigma_n_sq`, the variance of the eye's noise, to that of
#   the image's. Its default of 2.0 is for pixels up to 255; in [0, 1], where no variance is above 0.25, it drowns the noise.
# For users: multiply by 255, or give sigma_n_sq=2 / 255**2.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import torch
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import visual_information_fidelity as fidelity

torch.manual_seed(0)
image = avg_pool2d(torch.rand(1, 1, 192, 192), 5, 1, 2)
image = (image - image.min()) / (image.max() - image.min())
print(f"torchmetrics {version('torchmetrics')}; expected: falling with the noise, the same in both ranges")
seen = {}
for strength in (0.0, 0.05, 0.1, 0.2):
    noisy = (image + strength * torch.randn_like(image)).clamp(0, 1)
    by_range = fidelity(noisy, image).item(), fidelity(noisy * 255, image * 255).item()
    scaled = fidelity(noisy, image, sigma_n_sq=2 / 255**2).item()
    seen[strength] = *by_range, scaled
    print(f"  noise of {strength}: seen {by_range[0]:.4f} in [0, 1], {by_range[1]:.4f} in [0, 255]")
small, large, scaled = seen[0.05]
if small < 1 or not 0.3 < large < 0.45 or abs(scaled - large) > 0.01 or seen[0.2][0] < 0.8 or abs(seen[0.0][0] - 1) > 1e-3:
    sys.exit("no longer so")
PY
