#!/usr/bin/env bash
# dp-accounting: where one record is replaced, its RDP accountant gives half the noise scale its due: epsilon 4.7 instead of 10.
#
# One would guess: both accountants take the same events and the same relation of neighbours. RDP gives an upper bound, PLD a
#   nearly exact value, so that the epsilon of RDP is never below that of PLD.
# What happens: with `NeighboringRelation.REPLACE_ONE` and one Gaussian sum of noise multiplier 1, PLD says 10.0 and RDP 4.73
#   at delta 1e-5. A `GaussianDpEvent` is defined as a sum of values of norm at most C with noise of noise_multiplier * C. A
#   replaced record moves that sum by up to 2 * C, for which the exact value is 10.0; RDP counts on a move of C. Batches of
#   fixed size (`SampledWithoutReplacementDpEvent`), which only RDP with this relation takes, have the same gap: 99 of 100
#   records come to 4.9. With `ADD_OR_REMOVE_ONE` the two accountants agree.
# Versions: dp-accounting 0.6.0, numpy 2.1.3, scipy 1.17.1.
# Why: `RdpAccountant._maybe_compose` in dp_accounting/rdp/rdp_privacy_accountant.py takes the multiplier for the ratio of the
#   noise to the sensitivity, whatever the relation; `PLDAccountant` passes the relation on, and
#   pld/privacy_loss_distribution.py doubles the move. The definition of the event is in dp_event.py. Reported
#   as issue 378 of google/differential-privacy, open.
# For users: with RDP and REPLACE_ONE give half of the noise multiplier.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dp-accounting==0.6.0 numpy==2.1.3 scipy==1.17.1
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import numpy as np
from dp_accounting import NeighboringRelation, pld, rdp
from dp_accounting.dp_event import GaussianDpEvent, SampledWithoutReplacementDpEvent
from scipy.optimize import brentq
from scipy.stats import norm

DELTA = 1e-5


def exact(move: float) -> float:
    """The epsilon of noise of standard deviation 1 on a sum that neighbours move by as much."""
    return brentq(
        lambda e: norm.cdf(move / 2 - e / move) - np.exp(e) * norm.cdf(-move / 2 - e / move) - DELTA, 0, 100
    )


def both(relation) -> tuple[float, float]:
    accountants = rdp.RdpAccountant(neighboring_relation=relation), pld.PLDAccountant(relation)
    by_rdp, by_pld = (float(one.compose(GaussianDpEvent(1.0)).get_epsilon(DELTA)) for one in accountants)
    return by_rdp, by_pld


print(f"dp-accounting {version('dp-accounting')}; noise multiplier 1, delta {DELTA}")
added, replaced = both(NeighboringRelation.ADD_OR_REMOVE_ONE), both(NeighboringRelation.REPLACE_ONE)
for name, move, (by_rdp, by_pld) in ("added or removed", 1, added), ("replaced", 2, replaced):
    print(f"  a record is {name}: exact {exact(move):.2f}; seen: RDP {by_rdp:.2f}, PLD {by_pld:.2f}")
batches = rdp.RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
sampled = float(batches.compose(SampledWithoutReplacementDpEvent(100, 99, GaussianDpEvent(1.0))).get_epsilon(DELTA))
print(f"  a record is replaced, 99 of 100 records are drawn: expected about {exact(2):.1f}; seen: RDP {sampled:.2f}")
if abs(added[1] - exact(1)) > 0.01 or abs(replaced[1] - exact(2)) > 0.01 or added[0] < exact(1):
    sys.exit("no longer so")
if replaced[0] > 0.6 * exact(2) or sampled > 0.6 * exact(2):
    sys.exit("no longer so")
PY
