#!/usr/bin/env bash
# Write requirements.lock and requirements-dev.lock from pyproject.toml with uv, for all Pythons that privpipe supports:
# the first has what the pipeline needs, the second the rest. torch is pinned without its CUDA packages: a CPU build
# needs none of them, and a CUDA build pins its own.
set -euo pipefail
cd "$(dirname "$0")/.."

resolve() { uv pip compile --universal --python-version 3.11 --quiet --no-header "$@" pyproject.toml; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cuda=$(resolve --extra dev | grep --only-matching --extended-regexp '^(nvidia-|cuda-|triton|torch)[a-z0-9-]*' | sort --unique)
skip=()
for name in $cuda; do skip+=(--no-emit-package "$name"); done
resolve --extra dev --no-annotate "${skip[@]}" | grep --invert-match '^#' > "$work/all.txt"
resolve --extra pipeline --no-annotate "${skip[@]}" --constraint "$work/all.txt" | grep --invert-match '^#' > "$work/pipeline.txt"
{
  echo '# What the pipeline needs, pinned: `make demo` and `make repro` install it. Made by `make lock` from pyproject.toml.'
  echo '# torch comes first and without its CUDA packages: a CPU build needs none of them, and a CUDA'
  echo '# build pins its own.'
  grep --only-matching 'torch==[0-9.]*' pyproject.toml
  cat "$work/pipeline.txt"
} > "$work/requirements.lock"
{
  echo '# The other packages that `make setup` installs, pinned: those of the other extras, of the tests and of the documents.'
  echo '--requirement requirements.lock'
  grep --invert-match --line-regexp --fixed-strings --file="$work/pipeline.txt" "$work/all.txt"
} > "$work/requirements-dev.lock"
mv "$work/requirements.lock" "$work/requirements-dev.lock" .
