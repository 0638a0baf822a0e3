#!/usr/bin/env bash
# The whole pipeline end to end, offline, on the embedded data set, in a working copy of its own (demo/), so that
# nothing of this checkout changes. Experiments can go on there.
set -euo pipefail
cd "$(dirname "$0")/.."

rm -rf demo
mkdir demo
# What git tracks, as it is in the working tree.
git ls-files -z | while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done \
  | tar --create --null --files-from=- | tar --extract --directory=demo
cd demo
git init --quiet --initial-branch=main
git config user.name demo  # DVC experiments are commits, and commits need a name
git config user.email demo@localhost
git add --all
git commit --quiet --message="privpipe demo"

dvc exp run --quiet --set-param data.source=synthetic --set-param data.n_train=4000 --set-param data.n_val=500 \
  --set-param data.n_test=1000 --set-param attack.targets=300
git add --all
git commit --quiet --message="demo results"  # what the next experiment is compared with

echo
dvc metrics show metrics/times metrics/train.json metrics/evaluate.json  # those of privacy are a hundred: the page has them
echo
echo "figures: demo/plots/*.png"
echo "page:    demo/reports/index.html (open it in a browser)"
echo "go on:   source .venv/bin/activate && cd demo && dvc exp run -S perturb.k=8 && dvc metrics diff"
