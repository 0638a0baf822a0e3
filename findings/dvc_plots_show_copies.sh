#!/usr/bin/env bash
# DVC: `dvc plots show` puts a copy of an image that is neither committed nor pushed where `git add --all` takes it.
#
# One would guess: an image plot with `push: false` stays on this machine. DVC lists it in .gitignore and does not push it, and
#   `dvc plots show`, which only shows it, keeps it so.
# What happens: `dvc plots show` writes a full copy to dvc_plots/static/, and nothing adds dvc_plots/ to .gitignore.
# Versions: dvc 3.67.1.
# Why: the folder is the default of `plots.out_dir` in dvc/commands/plots.py, which writes there and touches no ignore file.
# For users: add dvc_plots/ to .gitignore before the first `dvc plots show` in a project whose images must not leave the machine.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$work/venv/bin:$PATH" DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$work/site"
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
mkdir project && cd project && git init --quiet && dvc init --quiet && dvc remote add --quiet --default store ../store

cat >draw.py <<'PY'
from pathlib import Path
Path("image.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="4" height="8"/></svg>')
PY
cat >dvc.yaml <<'YAML'
stages:
  draw:
    cmd: python draw.py
    deps: [draw.py]
    plots:
      - image.svg: {push: false}
YAML
dvc repro --quiet && git add --all && git commit --quiet --message one
dvc push --quiet
mkdir -p ../store && pushed=$(find ../store -type f | wc -l)
git check-ignore --quiet image.svg && ignored=yes || ignored=no
dvc plots show >/dev/null
git add --all
staged=$(git diff --cached --name-only)

echo "dvc $(dvc --version); image.svg is ignored by git: $ignored; files that dvc push stored: $pushed"
echo "expected: git add --all stages nothing after dvc plots show"
echo "seen: it stages $(echo $staged)"
cmp image.svg dvc_plots/static/workspace_image.svg && grep -qx dvc_plots/static/workspace_image.svg <<<"$staged" &&
  test "$pushed $ignored" = "0 yes" || { echo "no longer so"; exit 1; }
