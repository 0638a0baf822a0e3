#!/usr/bin/env bash
# DVC: an output with `persist: true` is never taken from the run cache.
#
# One would guess: `persist: true` only says that an output is not deleted before its stage runs. A stage that ran before with
#   the same inputs is taken from the run cache like any other.
# What happens: `dvc repro` runs such a stage again, without a word of why, although its result lies in the cache, even if
#   nothing but the output file is missing. `dvc checkout` and `dvc exp run --temp` (which checks out first) do restore it.
# Versions: dvc 3.67.1.
# Why: `_can_hash` in dvc/stage/cache.py refuses a stage with one persisting output, so it is neither saved nor looked up. Meant
#   so since treeverse/dvc issue 1852, which also asked for a warning; this version prints none.
# For users: one persisting output makes the whole stage run again. To go back to an old result, use `dvc checkout`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$work/venv/bin:$PATH" DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$work/site" RUNS="$work/runs"
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
mkdir project && cd project && git init --quiet && dvc init --quiet

cat >dvc.yaml <<'YAML'
stages:
  plain:
    cmd: echo plain >> $RUNS && cp n.txt plain.txt
    deps: [n.txt]
    outs: [plain.txt]
  kept:
    cmd: echo kept >> $RUNS && cp n.txt kept.txt
    deps: [n.txt]
    outs:
      - kept.txt: {persist: true}
YAML

runs() { # the stages that a command ran, in order
  : >"$RUNS"
  "$@" >log 2>&1
  tr '\n' ' ' <"$RUNS"
}
echo 1 >n.txt && dvc repro --quiet && git add --all && git commit --quiet --message one
echo 2 >n.txt && dvc repro --quiet
echo 1 >n.txt
back=$(runs dvc repro)
rm plain.txt kept.txt
checkout=$(runs dvc checkout)
test -f kept.txt
rm plain.txt kept.txt
missing=$(runs dvc repro)
rm kept.txt
temp=$(runs dvc exp run --temp)

echo "dvc $(dvc --version); expected: no command below runs a stage, all results are in the cache"
echo "seen: back to the old input, dvc repro ran: ${back:-nothing}"
echo "seen: output files deleted, dvc repro ran: ${missing:-nothing}"
echo "seen: output files deleted, dvc checkout ran: ${checkout:-nothing}, and kept.txt is back"
echo "seen: output file deleted, dvc exp run --temp ran: ${temp:-nothing}"
test "$back" = "kept " && test "$missing" = "kept " && test -z "$checkout" && test -z "$temp" || { echo "no longer so"; exit 1; }
