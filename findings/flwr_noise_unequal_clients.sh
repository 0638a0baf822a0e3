#!/usr/bin/env bash
# Flower: the noise of central differential privacy is for clients of one size; with others a client shows ten times as much.
#
# One would guess: around `FedAvg`, `DifferentialPrivacyServerSideFixedClipping(noise_multiplier=1, clipping_norm=1)` adds noise
#   of one times what a client can change in the model, whatever the sizes of the clients, or refuses to.
# What happens: the clipped updates are averaged with the clients' numbers of examples as weights, and the noise is
#   `noise_multiplier * clipping_norm / number of clients`. A client with 991 of 1,000 examples moves the model by 0.991, beside
#   noise of 0.1: a multiplier of 0.1, not 1. `FedAvg` weighs by "num-examples" unless told otherwise. With an
#   accountant the same round is refused ("requires equal client weights"); without one, the default, there is no word of it,
#   neither when it runs nor in the documentation of the class, which asks for equal weights only beside the accountant.
# Versions: flwr 1.42.0, numpy 2.4.6.
# Why: `_add_noise_to_aggregated_arrays` in flwr/serverapp/strategy/dp_fixed_clipping.py, and `compute_stdv`, know no weights;
#   `_validate_uniform_weights` returns at once when there is no accountant.
# For users: let every client report the same `num-examples`, or a constant under another key and `FedAvg(weighted_by_key=...)`.
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
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from flwr.supercore.task_identity import TaskIdentity

TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1  # as of a server that runs
CLIENTS, SIZE = 10, 10_000
np.random.seed(0)


class Nodes:
    """As much of a grid as a strategy needs to choose clients."""

    def get_node_ids(self):
        return list(range(1, CLIENTS + 1))


def measured(examples: list[int]) -> tuple[float, float]:
    """How far the first client's update moves the model, and the standard deviation of the noise."""
    strategy = DifferentialPrivacyServerSideFixedClipping(
        FedAvg(), noise_multiplier=1.0, clipping_norm=1.0, num_sampled_clients=CLIENTS
    )
    model = ArrayRecord({"w": Array(np.zeros(SIZE))})
    strategy.configure_train(1, model, ConfigRecord(), Nodes())
    replies = []
    for node, number in enumerate(examples, 1):
        update = np.zeros(SIZE)
        update[0] = 50.0 if node == 1 else 0.0
        update[1] = 1e-9
        content = {"arrays": ArrayRecord({"w": Array(update)}), "metrics": MetricRecord({"num-examples": number})}
        replies.append(Message(RecordDict(content), dst_node_id=node, message_type="train"))
    arrays, _ = strategy.aggregate_train(1, replies)
    result = arrays["w"].numpy()
    noise = float(result[2:].std())
    return float(result[0]), noise


print(f"flwr {version('flwr')}; noise_multiplier 1, clipping_norm 1, {CLIENTS} clients")
moved, multiplier = {}, {}
for name, examples in ("equal", [100] * 10), ("unequal", [991] + [1] * 9):
    values = np.array([measured(examples) for _ in range(100)])
    moved[name], noise = values.mean(0)
    multiplier[name] = noise / moved[name]
    print(f"  {name} clients: one moves the model by {moved[name]:.2f}, the noise is {noise:.2f}: "
          f"a multiplier of {multiplier[name]:.2f}, expected 1")
if abs(multiplier["equal"] - 1) > 0.25 or multiplier["unequal"] > 0.15:
    sys.exit("no longer so")
PY
