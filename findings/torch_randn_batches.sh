#!/usr/bin/env bash
# PyTorch: what `randn` draws depends on how many are asked for at once, and on the strides of what is filled; `rand` does not.
#
# One would guess: a generator is one stream. With the same seed, the first n of n + 1 normal values are those of n, and 64 filters of 3×3
#   are the same whether they are drawn at once or in batches of 8, as with `torch.rand`, `torch.randint`, and NumPy's `normal`.
# What happens on a CPU: of 15 values and the first 15 of 16 none is the same; 17 share one with 34. Filters of 3×3 drawn in batches of 8
#   are other filters than those of one call, in batches of 16 they are the same ones. `normal_` fills a column of a matrix with other values
#   than a vector. And float64 draws others than float32 from 16 on.
# Versions: torch 2.13.0 (CPU build), numpy 2.4.6.
# Why: in aten/src/ATen/native/cpu/DistributionTemplates.h 16 values or more in contiguous memory are made in blocks of 16, from 16 uniform
#   ones, and the last 16 are drawn anew where the count is no multiple of 16; all else is made value by value, in pairs.
# For users: noise or keys drawn by `randn` are only named by seed, shape and batches together. Who must draw part of them again, or resume,
#   draws each image's from a seed of its own, or with NumPy.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import numpy as np
import torch


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def shared(count: int, more: int) -> int:
    return int((torch.randn(count, generator=seeded()) == torch.randn(more, generator=seeded())[:count]).sum())


def filters(batch: int) -> torch.Tensor:
    draws = seeded()
    return torch.cat([torch.randn(batch, 3, 3, generator=draws) for _ in range(64 // batch)])


def same_stream(draw) -> bool:
    return all((draw(n) == draw(n + 1)[:n]).all() for n in (15, 16, 17, 100))


numbers = {(n, more): shared(n, more) for n, more in ((14, 15), (15, 16), (17, 34), (16, 32))}
batches = {batch: float((filters(batch) == filters(64)).float().mean()) for batch in (1, 8, 16, 32)}
column, vector = torch.empty(32, 2)[:, 0], torch.empty(32)
strided = int((column.normal_(generator=seeded()) == vector.normal_(generator=seeded())).sum())
others = (
    same_stream(lambda n: torch.rand(n, generator=seeded())),
    same_stream(lambda n: torch.randint(10, (n,), generator=seeded())),
    same_stream(lambda n: np.random.default_rng(0).normal(size=n)),
)
print(f"torch {torch.__version__}")
for (n, more), count in numbers.items():
    print(f"  of {n} values, {count} are among the first {n} of {more}")
for batch, fraction in batches.items():
    print(f"  64 filters of 3x3 in batches of {batch}: {fraction:.0%} of the values of one call")
print(f"  a column of 32 values: {strided} as in a vector; torch.rand, torch.randint and NumPy are one stream: {others}")
if list(numbers.values()) != [14, 0, 1, 16] or strided or not all(others):
    sys.exit("no longer so")
if batches[1] > 0.01 or batches[8] > 0.2 or batches[16] != 1 or batches[32] != 1:
    sys.exit("no longer so")
PY
