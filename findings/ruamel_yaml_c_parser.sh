#!/usr/bin/env bash
# ruamel.yaml: since 0.19 it comes without its parser in C, so that a DVC that is installed today reads its files several times slower.
#
# One would guess: `pip install ruamel.yaml` (or DVC, which needs it) brings the parser in C on CPython, as 0.18 did, and
#   `YAML(typ="safe")`, "safe and fast", uses it.
# What happens: 0.19 needs no `ruamel.yaml.clib` any more, and `typ="safe"` falls back to the parser in Python without a word: a dvc.lock of
#   200 stages takes about five times as long. DVC 3.67.1 asks for `ruamel.yaml>=0.17.11` and reads dvc.yaml, dvc.lock and params.yaml by
#   `YAML(typ="safe")`, in each command.
# Versions: ruamel.yaml 0.18.17 and 0.19.1, ruamel.yaml.clib 0.2.15.
# Why: the metadata of 0.19 has the C parser as an extra, `oldlibyaml`; DVC names no extra (dvc/utils/serialize/_yaml.py).
# For users: `pip install 'ruamel.yaml[oldlibyaml]'` beside DVC. Every entry of a large pipeline is read faster.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for variant in before=ruamel.yaml==0.18.17 now=ruamel.yaml==0.19.1 extra=ruamel.yaml[oldlibyaml]==0.19.1; do
  python3 -m venv "${variant%%=*}"
  "${variant%%=*}/bin/python" -m pip install --quiet --disable-pip-version-check "${variant#*=}"
done
cat > load.py <<'PY'
import sys
import time

import ruamel.yaml

entry = "  s{0}:\n    cmd: python -m a{0}\n    deps:\n    - path: data/{0}.csv\n      hash: md5\n      md5: {0:032x}\n      size: {0}\n"
lock = "schema: '2.0'\nstages:\n" + "".join(entry.format(number) for number in range(200))


def seconds() -> float:
    start = time.perf_counter()
    assert len(ruamel.yaml.YAML(typ="safe").load(lock)["stages"]) == 200
    return time.perf_counter() - start


parser = ruamel.yaml.YAML(typ="safe").Parser.__name__
fastest = min(seconds() for _ in range(7))
print(f"ruamel.yaml {ruamel.yaml.__version__}: {parser}, {1000 * fastest:.0f} ms for {len(lock):,} characters", file=sys.stderr)
print(parser, fastest)
PY
read -r parser_before time_before < <(before/bin/python load.py)
read -r parser_now time_now < <(now/bin/python load.py)
read -r parser_extra _ < <(extra/bin/python load.py)
test "$parser_before $parser_now $parser_extra" = "CParser Parser CParser" &&
  python3 -c "import sys; sys.exit(not $time_now > 2 * $time_before)" || { echo "no longer so"; exit 1; }
