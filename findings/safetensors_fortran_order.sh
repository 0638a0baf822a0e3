#!/usr/bin/env bash
# safetensors: since 0.8.0 the NumPy writer stores a transposed array with its values in other places, and says nothing.
#
# One would guess: `safetensors.numpy.save` stores the values that the array has, as 0.7.0 does, or refuses, as the writer for
#   PyTorch does for tensors that are not contiguous.
# What happens: the memory of a transposed or Fortran-ordered array is written as it lies, under the shape of the array, so that
#   reading gives other values. There is no error and no warning.
# Versions: safetensors 0.7.0 and 0.8.0, the newest when this was written.
# Why: `_flatten` in safetensors/numpy.py passes on the array's address since 0.8.0; the docstring asks for "contiguous and dense"
#   arrays, and a Fortran-ordered array is both. Known: safetensors/safetensors issue 825.
# For users: store `np.ascontiguousarray(x)`; `.T` and `transpose` give arrays in Fortran order.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
for version in 0.7.0 0.8.0; do
  venv/bin/python -m pip install --quiet --disable-pip-version-check "safetensors==$version" numpy==2.4.6
  venv/bin/python - "$version" <<'PY'
import sys
import numpy as np
import safetensors
from safetensors.numpy import load, save

x = np.arange(6, dtype=np.float32).reshape(2, 3).T
read = load(save({"x": x}))["x"]
print(f"safetensors {safetensors.__version__}; expected: {x.tolist()}, seen: {read.tolist()}")
copied = load(save({"x": np.ascontiguousarray(x)}))["x"]
if np.array_equal(read, x) != (sys.argv[1] == "0.7.0") or not np.array_equal(copied, x):
    sys.exit("no longer so")
PY
done
