#!/usr/bin/env bash
# PyTorch: on a CPU the norm of a large tensor is too small, in float32 as well, and clipping by it lets through more than the bound.
#
# One would guess: `torch.linalg.vector_norm`, and `Tensor.norm`, `dist` and `clip_grad_norm_` that use it, are as exact as `sum`, which adds
#   in a cascade; in float16 they are rounded at the end.
# What happens: squares are added one after the other, so that the total swallows them: of 40 million values float32 has 0.2 % too little,
#   float16 3 %, with one thread; more of larger tensors. The square root of the sum of squares is right. Differential privacy clips gradients
#   to a norm, and that of a layer with so many weights stays above the bound that the noise was chosen for.
# Versions: torch 2.13.0 (CPU build), numpy 2.4.6.
# Why: aten/src/ATen/native/cpu/ReduceOpsKernel.cpp keeps a running sum for each lane of a vector, in the type of the result;
#   see also the issues 151761 and 169237 of pytorch/pytorch.
# For users: `tensor.square().sum().sqrt()`, in float32 or better, or `vector_norm(..., dtype=torch.float64)`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import torch

torch.set_num_threads(1)
COUNT = 40_000_000
values = torch.rand(COUNT, generator=torch.Generator().manual_seed(0))
exact = values.square().sum(dtype=torch.float64).sqrt().item()
half = values.half()
exact_half = half.double().square().sum().sqrt().item()
lost = {
    "vector_norm, float32": 1 - torch.linalg.vector_norm(values).item() / exact,
    "vector_norm, float16": 1 - torch.linalg.vector_norm(half).item() / exact_half,
    "vector_norm, float32 to float64": 1 - torch.linalg.vector_norm(values, dtype=torch.float64).item() / exact,
    "square().sum().sqrt(), float32": 1 - values.square().sum().sqrt().item() / exact,
    "vector_norm, float32, a million values": 1
    - torch.linalg.vector_norm(values[:1_000_000]).item() / values[:1_000_000].double().square().sum().sqrt().item(),
}
weight = torch.nn.Parameter(torch.zeros(COUNT))
weight.grad = values.clone()
torch.nn.utils.clip_grad_norm_([weight], 1.0)
clipped = weight.grad.square().sum(dtype=torch.float64).sqrt().item()
print(f"torch {torch.__version__}, {COUNT:,} values; what is missing of the norm:")
for name, fraction in lost.items():
    print(f"  {name}: {fraction:.4%}")
print(f"  after clip_grad_norm_ to 1 the norm is {clipped:.4f}")
large = lost["vector_norm, float32"], lost["vector_norm, float16"]
small = [fraction for name, fraction in lost.items() if "float64" in name or "sqrt" in name or "million" in name]
if min(large) < 0.001 or large[1] < 0.01 or any(abs(fraction) > 0.0001 for fraction in small) or clipped < 1.001:
    sys.exit("no longer so")
PY
