#!/usr/bin/env bash
# DVC: `dvc exp run --dry` fails on a pipeline that has just been reproduced.
#
# One would guess: `dvc exp run --dry` says what `dvc exp run` would do, as `dvc repro --dry` does for `dvc repro`.
# What happens: it runs in a temporary copy of the project that holds only what git tracks. No output is in it, so the first stage
#   counts as changed, and the second one stops because the first's output is missing: exit code 255, although nothing changed.
# Versions: dvc 3.67.1.
# Why: dvc/repo/experiments/run.py sets `tmp_dir = True` for `dry`, and `ExecutorBase.reproduce` in
#   dvc/repo/experiments/executor/base.py leaves out the checkout of outputs for `dry`.
# For users: use `dvc repro --dry`, or `dvc exp run --dry --allow-missing`, which takes missing outputs for unchanged.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$work/venv/bin:$PATH" DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$work/site"
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
mkdir project && cd project && git init --quiet && dvc init --quiet

cat >dvc.yaml <<'YAML'
stages:
  one:
    cmd: cp n.txt one.txt
    deps: [n.txt]
    outs: [one.txt]
  two:
    cmd: cp one.txt two.txt
    deps: [one.txt]
    outs: [two.txt]
YAML
echo 1 >n.txt && dvc repro --quiet && git add --all && git commit --quiet --message one

code() { # the exit code of a command; what it prints goes to the file `log`
  local rc=0
  "$@" >../log 2>&1 || rc=$?
  echo "$rc"
}
repro=$(code dvc repro --dry)
missing=$(code dvc exp run --dry --allow-missing)
real=$(code dvc exp run --temp)
grep -q "Stage 'two' didn't change, skipping" ../log && skipped=1 || skipped=0
dry=$(code dvc exp run --dry)

echo "dvc $(dvc --version); expected: each command below exits with 0 and finds nothing to do"
echo "seen: dvc repro --dry exits with $repro; dvc exp run --temp exits with $real and skips stage two: $skipped"
echo "seen: dvc exp run --dry exits with $dry: $(grep -o -m 1 "failed to reproduce 'two'.*directory" ../log)"
echo "seen: dvc exp run --dry --allow-missing exits with $missing"
test "$repro $real $skipped $missing" = "0 0 1 0" && test "$dry" != 0 && grep -q "failed to reproduce 'two'" ../log ||
  { echo "no longer so"; exit 1; }
