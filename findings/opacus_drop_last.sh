#!/usr/bin/env bash
# Opacus: `drop_last` of the data loader decides how large the private batches are, after a warning that it is ignored.
#
# One would guess: `make_private` with a loader of `batch_size=600` of 1,000 records takes each record with probability 0.6 and
#   divides the noisy sum by 600; and `drop_last=True` changes nothing, as Opacus logs "Ignoring drop_last".
# What happens: the rate is 1 / (number of batches of an epoch), and `drop_last` rounds that number down instead of up. Of 1,000
#   records, batches of 600 are 500 on average without it; with it every step takes all 1,000: nothing is left of the privacy
#   that sampling gives, and with noise of 4 a step costs an epsilon of 1.0 instead of 0.6. All batches of 501 to 999 are such
#   batches of 500, or of 1,000. Where batches are small beside the data the difference is small.
# Versions: opacus 1.6.0, torch 2.13.0, numpy 2.4.6.
# Why: `PrivacyEngine.make_private` in opacus/privacy_engine.py and `DPDataLoader.from_data_loader` in opacus/data_loader.py
#   take 1 / len(data_loader); only the loader made afterwards leaves `drop_last` out.
# For users: choose a batch size that divides the number of records, and log `sample_rate` and `expected_batch_size`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check opacus==1.6.0 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PY'
import logging
import sys
import warnings

import opacus
import torch
from opacus.accountants import RDPAccountant
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore")
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger().addHandler(handler)
torch.manual_seed(0)
data = TensorDataset(torch.randn(1000, 4), torch.randint(0, 2, (1000,)))
print(f"opacus {opacus.__version__}; batches of 1,000 records")
seen = {}
for size in (600, 999, 500):
    for drop_last in (False, True):
        model = torch.nn.Linear(4, 2)
        _, optimizer, loader = opacus.PrivacyEngine().make_private(
            module=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            data_loader=DataLoader(data, batch_size=size, shuffle=True, drop_last=drop_last),
            noise_multiplier=4.0,
            max_grad_norm=1.0,
        )
        taken = [len(labels) for _ in range(20) for _, labels in loader]
        accountant = RDPAccountant()
        accountant.step(noise_multiplier=4.0, sample_rate=loader.sample_rate)
        epsilon = accountant.get_epsilon(delta=1e-5)
        mean = sum(taken) / len(taken)
        seen[size, drop_last] = loader.sample_rate, optimizer.expected_batch_size, mean, epsilon
        print(
            f"  batch_size={size}, drop_last={drop_last}: rate {loader.sample_rate}, "
            f"divided by {optimizer.expected_batch_size}, {mean:.0f} records a step, epsilon of a step {epsilon:.2f}"
        )
said = any("Ignoring drop_last" in line for line in lines)
print(f"  logged that drop_last is ignored: {said}")
half = all(seen[key][:2] == (0.5, 500) for key in [(600, False), (999, False), (500, False), (500, True)])
full = all(seen[key][:3] == (1.0, 1000, 1000) for key in [(600, True), (999, True)])
if not said or not half or not full or seen[600, True][3] < 1.5 * seen[600, False][3]:
    sys.exit("no longer so")
PY
