#!/usr/bin/env bash
# DVC: .dvcignore does not apply to a folder above a sub-project, neither the sub-project's nor the one beside the folder.
#
# One would guess: with `__pycache__` in .dvcignore, byte code that Python writes beside the sources is no change of a
#   dependency, wherever the folder lies in the repository.
# What happens: a stage of a sub-project (`dvc init --subdir`) that depends on ../code counts as changed by ../code/__pycache__,
#   though both .dvcignore files name it. A stage of the outer project that depends on the same folder does not.
# Versions: dvc 3.67.1.
# Why: `DvcIgnoreFilter._get_trie_pattern` in dvc/ignore.py returns None for a folder outside of its project's root. Asked for in
#   treeverse/dvc issues 3656 and 3657 (the second: to say so in the documentation).
# For users: depend on single files, or on a file of digests, not on a folder of code outside of the project.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dvc==3.67.1
export PATH="$work/venv/bin:$PATH" DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$work/site"
mkdir -p project/code/__pycache__ project/sub && cd project && git init --quiet && dvc init --quiet
echo "x = 1" >code/a.py
(cd sub && dvc init --quiet --subdir)
echo __pycache__ >.dvcignore
echo __pycache__ >sub/.dvcignore
stage() { # a dvc.yaml with one stage that depends on the folder $1
  printf 'stages:\n  s:\n    cmd: cp %s/a.py out.py\n    deps: [%s]\n    outs: [out.py]\n' "$1" "$1"
}
stage code >dvc.yaml
stage ../code >sub/dvc.yaml
dvc repro --quiet
(cd sub && dvc repro --quiet)
before=$(dvc status --quiet && cd sub && dvc status --quiet && echo unchanged)

echo anything >code/__pycache__/a.pyc
outer=$(dvc status)
inner=$(cd sub && dvc status)
echo "dvc $(dvc --version); before: $before"
echo "expected: neither project sees a file in __pycache__"
echo "seen: outer project: $outer"
echo "seen: sub-project: $(echo $inner)"
test "$before" = unchanged && grep -q "up to date" <<<"$outer" && grep -q "changed deps" <<<"$inner" ||
  { echo "no longer so"; exit 1; }
