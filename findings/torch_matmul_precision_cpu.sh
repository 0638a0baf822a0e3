#!/usr/bin/env bash
# PyTorch: set_float32_matmul_precision, a switch for tensor cores, also decides a CPU's products, and outlives a later global setting.
#
# One would guess: `torch.set_float32_matmul_precision("medium")`, which libraries advise for a GPU, leaves the CPU alone; or it changes
#   all float32 products there, those of convolutions too; and whoever assigns `torch.backends.fp32_precision` afterwards sets them all.
# What happens on a CPU with bfloat16 products: "medium" multiplies matrices in bfloat16 (errors thousands of times larger), and leaves
#   convolutions in float32. After "highest", `torch.backends.fp32_precision = "bf16"` changes convolutions alone: the earlier call has
#   pinned the products of matrices one level below, where the global setting no longer reaches.
# Versions: torch 2.13.0 (CPU build), numpy 2.4.6; seen on an Intel Xeon with AMX.
# Why: the call writes `torch.backends.mkldnn.matmul.fp32_precision` besides CUDA's; a setting of an operation comes before that of all.
# For users: set `torch.backends.mkldnn.matmul.fp32_precision` and `.conv.fp32_precision` by name where results must not change.
set -euo pipefail

if ! grep -qE 'amx_bf16|avx512_bf16' /proc/cpuinfo 2> /dev/null; then
  echo "this processor has no bfloat16 products: nothing to see here"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import torch
from torch.nn.functional import conv2d

torch.manual_seed(0)
a, b = torch.randn(256, 512), torch.randn(512, 256)
images, kernels = torch.randn(16, 32, 16, 16), torch.randn(32, 32, 3, 3)
exact = a.double() @ b.double(), conv2d(images.double(), kernels.double())


def errors(setting: str) -> tuple[float, float]:
    found = [(x.double() - y).abs().max().item() for x, y in zip((a @ b, conv2d(images, kernels)), exact)]
    print(f"  {setting:<45} largest error: matrices {found[0]:.1e}, convolution {found[1]:.1e}")
    return found[0], found[1]


print(f"torch {torch.__version__}")
default = errors("as it comes")
torch.set_float32_matmul_precision("medium")
medium = errors('set_float32_matmul_precision("medium")')
torch.set_float32_matmul_precision("highest")
torch.backends.fp32_precision = "bf16"
pinned = errors('..."highest", then fp32_precision = "bf16"')
so = medium[0] > 1000 * default[0] and medium[1] == default[1] and pinned[0] == default[0] and pinned[1] > 1000 * default[1]
if not so:
    sys.exit("no longer so")
PY
