#!/usr/bin/env bash
# Write requirements.lock from pyproject.toml with uv, for all Pythons that privpipe supports. torch is pinned without
# its CUDA packages: a CPU build needs none of them, and a CUDA build pins its own.
set -euo pipefail
cd "$(dirname "$0")/.."

resolve() { uv pip compile --universal --python-version 3.11 --extra dev --quiet --no-header "$@" pyproject.toml; }

cuda=$(resolve --no-annotate | grep --only-matching --extended-regexp '^(nvidia-|cuda-|triton|torch)[a-z0-9-]*' | sort --unique)
skip=()
for name in $cuda; do skip+=(--no-emit-package "$name"); done
{
  echo '# Every package that `make setup` installs, pinned. Made by `make lock` from pyproject.toml.'
  echo '# torch comes first and without its CUDA packages: a CPU build needs none of them, and a CUDA'
  echo '# build pins its own.'
  grep --only-matching 'torch==[0-9.]*' pyproject.toml
  resolve --no-annotate "${skip[@]}" | grep --invert-match '^#'
} > requirements.lock.partial
mv requirements.lock.partial requirements.lock
