#!/usr/bin/env bash
# Flower: adaptive clipping moves the bound away from the clients' updates, to 0 or without end.
#
# One would guess: `DifferentialPrivacyServerSideAdaptiveClipping` is the method of Andrew et al. (arXiv 1905.03871), which it
#   names: the bound follows the median of the norms of the updates. Where all updates have norm 1, a bound of 0.1 rises to about
#   1, and a bound of 10 falls to about 1.
# What happens: it is the other way round. The bound of 0.1 falls, all updates are clipped still, and it falls again, by
#   about exp(-0.1) each round, until the model learns nothing any more. The bound of 10 rises without end, nothing is ever
#   clipped, and the noise, which is a multiple of the bound, drowns the model. Nothing is warned of. With clipping on the clients
#   (`adaptiveclipping_mod`) the bit and the step are the same.
# Versions: flwr 1.42.0, numpy 2.4.6.
# Why: the paper's bit is 1 for an update within the bound, and its step is exp(-rate * (mean of the bits - quantile)).
#   `adaptive_clip_inputs_inplace` in flwr/supercore/differential_privacy.py returns 1 for an update that was clipped, and
#   `_geometric_update` in flwr/serverapp/strategy/dp_adaptive_clipping.py has the paper's sign. The documentation of the classes
#   has both: a quantile of updates "which should be clipped", and noise on the count of updates "currently below the estimate".
# For users: use fixed clipping, or a subclass whose `_geometric_update` gets 1 - fraction.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check flwr==1.42.0 numpy==2.4.6
export FLWR_HOME=$work FLWR_TELEMETRY_ENABLED=0
venv/bin/python - <<'PY'
import logging
import sys
from importlib.metadata import version

import numpy as np

logging.disable(logging.CRITICAL)
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import DifferentialPrivacyServerSideAdaptiveClipping, FedAvg
from flwr.supercore.task_identity import TaskIdentity

TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1  # as of a server that runs
CLIENTS, SIZE, ROUNDS = 40, 100, 60
rng = np.random.default_rng(0)
np.random.seed(0)


class Nodes:
    """As much of a grid as a strategy needs to choose clients."""

    def get_node_ids(self):
        return list(range(1, CLIENTS + 1))


def bounds(first: float) -> list[float]:
    """The bound after each round in which every client sends an update of norm 1."""
    strategy = DifferentialPrivacyServerSideAdaptiveClipping(
        FedAvg(), noise_multiplier=0.5, num_sampled_clients=CLIENTS, initial_clipping_norm=first
    )
    seen = []
    for number in range(1, ROUNDS + 1):
        model = ArrayRecord({"w": Array(np.zeros(SIZE, np.float32))})
        strategy.configure_train(number, model, ConfigRecord(), Nodes())
        replies = []
        for node in range(1, CLIENTS + 1):
            update = rng.normal(size=SIZE)
            update = (update / np.linalg.norm(update)).astype(np.float32)
            content = {"arrays": ArrayRecord({"w": Array(update)}), "metrics": MetricRecord({"num-examples": 1})}
            replies.append(Message(RecordDict(content), dst_node_id=node, message_type="train"))
        strategy.aggregate_train(number, replies)
        seen.append(strategy.clipping_norm)
    return seen


print(f"flwr {version('flwr')}; all updates have norm 1, the quantile is 0.5")
low, high = bounds(0.1), bounds(10.0)
for first, seen in (0.1, low), (10.0, high):
    print(f"  a bound of {first}: expected to come to about 1; seen: {seen[0]:.3g} after 1 round, {seen[19]:.3g} after 20, "
          f"{seen[-1]:.3g} after {ROUNDS}")
if low[-1] > 0.001 or high[-1] < 1000:
    sys.exit("no longer so")
PY
