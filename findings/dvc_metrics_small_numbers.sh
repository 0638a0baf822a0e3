#!/usr/bin/env bash
# DVC: `dvc metrics show` and `diff` print a delta of 1e-6 as 0.0, and its change as 0.0; `dvc exp show` prints the same metric right.
#
# One would guess: tables show a metric with so many significant digits, as `dvc exp show` and matplotlib do; a number that is not 0 never
#   reads 0.0, and a metric that changed is told from one that did not.
# What happens: `metrics show` and `metrics diff` round to 5 digits after the point, whatever the size. The delta of differential privacy, a
#   p-value, a learning rate or an error of 1e-6 read 0.0, and half of it shows a change of "-0.0". Large numbers keep all their digits.
# Versions: dvc 3.67.1.
# Why: dvc/commands/metrics.py calls the tables of dvc/compare.py with `round_digits=True`; `exp show` takes significant digits.
# For users: read small metrics with `--precision 12`, `--json` or `dvc exp show`, or write their logarithm.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$work/venv/bin:$PATH" DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$work/site"
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
mkdir project && cd project && git init --quiet && dvc init --quiet

echo "metrics: [privacy.json]" >dvc.yaml
echo '{"delta": 1e-06}' >privacy.json
git add --all && git commit --quiet --message one
echo '{"delta": 5e-07}' >privacy.json

show=$(dvc metrics show | awk 'END { print $2 }')
exact=$(dvc metrics show --precision 12 | awk 'END { print $2 }')
change=$(dvc metrics diff | awk 'END { print $3, $4, $5 }')
table=$(dvc exp show --md | grep workspace | tr -d ' ')

echo "dvc $(dvc --version); the metric is 1e-06 in the last commit and 5e-07 now"
echo "seen: dvc metrics show: $show; with --precision 12: $exact"
echo "seen: dvc metrics diff (before, now, change): $change"
echo "seen: dvc exp show: $table"
test "$show" = 0.0 && test "$exact" = 5e-07 && test "$change" = "0.0 0.0 -0.0" && grep -q 5e-07 <<<"$table" ||
  { echo "no longer so"; exit 1; }
