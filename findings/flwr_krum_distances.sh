#!/usr/bin/env bash
# Flower: Krum chooses among the clients' models almost by lot when they are near each other, as in fine-tuning.
#
# One would guess: `MultiKrum` of `flwr.serverapp` takes the model with the smallest sum of squared distances to its neighbours,
#   as Krum of the older `flwr.server` does, and never one of two that are three times as far from all others.
# What happens: of float32 models that differ little beside their norm, the squared distances are rounding errors, some of them
#   negative, and the choice is no better than random: one of the two outliers wins in 11 of 24 rounds. Here a model has a million
#   weights with a standard deviation of 0.05, and the clients' models differ by 1e-5 in each weight.
# Versions: flwr 1.42.0, numpy 2.4.6. How the rounding errors fall depends on the machine's BLAS.
# Why: `compute_distances` in flwr/serverapp/strategy/multikrum.py takes |x|² + |y|² - 2xy, in the type of the weights. The older
#   `_compute_distances` in flwr/server/strategy/aggregate.py subtracts first. A model that holds an array of int64 (the counter
#   of a batch norm) is right, as all is then computed in float64.
# For users: send differences from the model of the round instead of whole models, or float64.
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
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.server.strategy.aggregate import _compute_distances as older_distances
from flwr.serverapp.strategy import MultiKrum
from flwr.serverapp.strategy.multikrum import compute_distances
from flwr.supercore.task_identity import TaskIdentity

TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1  # as of a server that runs
CLIENTS, OUTLIERS, SIZE, ROUNDS = 10, 2, 1_000_000, 24


def chosen(models: list[np.ndarray]) -> int:
    """Whose model the strategy takes."""
    replies = []
    for number, model in enumerate(models):
        metrics = MetricRecord({"num-examples": 1, "client": number})
        content = RecordDict({"arrays": ArrayRecord({"w": Array(model)}), "metrics": metrics})
        replies.append(Message(content, dst_node_id=number + 1, message_type="train"))
    _, metrics = MultiKrum(num_malicious_nodes=OUTLIERS, num_nodes_to_select=1).aggregate_train(1, replies)
    return int(metrics["client"])


bad, bad_float64, bad_differences, negative = 0, 0, 0, 0
for seed in range(ROUNDS):
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 0.05, SIZE).astype(np.float32)
    models = [base + rng.normal(0, 3e-5 if n < OUTLIERS else 1e-5, SIZE).astype(np.float32) for n in range(CLIENTS)]
    bad += chosen(models) < OUTLIERS
    if seed < 3:
        bad_float64 += chosen([model.astype(np.float64) for model in models]) < OUTLIERS
        bad_differences += chosen([model - base for model in models]) < OUTLIERS
    if seed == 0:
        newer = compute_distances([ArrayRecord({"w": Array(model)}) for model in models])
        older = older_distances([[model] for model in models])
        negative = int((newer < 0).sum())
        print(f"flwr {version('flwr')}, numpy {np.__version__}")
        print(f"squared distances of client 3 to 4, 5 and outlier 0, expected: {older[3, [4, 5, 0]].round(4)}")
        print(f"  seen: {newer[3, [4, 5, 0]].round(4)}; {negative} of {newer.size} are negative")
print(f"rounds in which an outlier is chosen: expected 0 of {ROUNDS}, seen {bad}; float64 {bad_float64} of 3, "
      f"differences {bad_differences} of 3")
if bad == 0 or negative == 0 or bad_float64 or bad_differences:
    sys.exit("no longer so")
PY
