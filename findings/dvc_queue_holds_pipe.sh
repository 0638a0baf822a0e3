#!/usr/bin/env bash
# DVC: what `dvc exp run --run-all` starts keeps the caller's output open after it has ended.
#
# One would guess: once `dvc exp run --run-all` has ended, `dvc exp run --run-all | tee log` ends too, and so does whoever reads its
#   output, such as `subprocess.run(..., capture_output=True)`.
# What happens: the reader waits until the workers of the queue have left as well, which look only every ten seconds whether there is
#   more to do.
# Versions: dvc 3.67.1, dvc-task 0.40.2.
# Why: `ManagedProcess.spawn` in dvc_task/proc/process.py forks the calling process and leaves it its standard streams; the fork waits
#   for its worker, and dvc/repo/experiments/queue/celery.py gives workers `timeout=10`.
# For users: send the output of `dvc exp run --run-all` and `dvc queue start` to a file (`> log 2>&1`), not into a pipe.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dvc==3.67.1 dvc-task==0.40.2
export PATH="$work/venv/bin:$PATH" DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$work/site"
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
mkdir project && cd project && git init --quiet && dvc init --quiet

cat >dvc.yaml <<'YAML'
stages:
  one:
    cmd: echo ${n} > one.txt
    params: [n]
    outs: [one.txt]
YAML
echo "n: 1" >params.yaml && dvc repro --quiet && git add --all && git commit --quiet --message one

run() { # the second at which the queue's command ended goes to the file `ended`
  dvc exp run --quiet --queue --set-param "n=$1"
  { dvc exp run --run-all 2>&1; date +%s >../ended; }
}
run 2 | cat >../log
piped=$(($(date +%s) - $(cat ../ended)))
run 3 >../log
filed=$(($(date +%s) - $(cat ../ended)))
sleep 20 # its worker leaves

echo "dvc $(dvc --version); expected: a reader of its output ends within a second of \`dvc exp run --run-all\`"
echo "seen: into a pipe, the reader ended $piped s after it; into a file, $filed s"
test "$piped" -ge 3 && test "$filed" -le 1 || { echo "no longer so"; exit 1; }
