#!/usr/bin/env bash
# TenSEAL: the product of a batch of encrypted records and a matrix is not their product, and no error says so.
#
# One would guess: `ckks_tensor(context, records, batch=True)` packs the records into the slots of the ciphertexts, and
#   `.dot(weights)` scores each of them, as `records @ weights`; as it does with `batch=False`.
# What happens: it adds up all records first. Of 3 records of 4 values and 2 sets of weights come not 3 x 2 scores but 4 x 2
#   numbers: each weight times the sum of its value over the records. For one set of weights, 4 numbers come instead of 3, and
#   with as many records as values the shape is right. `.dot` of one encrypted batch and another does so too.
# Versions: tenseal 0.3.18, numpy 2.4.6.
# Why: `dot_inplace` and `dot_plain_inplace` in tenseal/cpp/tensors/ckkstensor.cpp multiply and then call `sum_inplace` without
#   an axis, that is along axis 0, which in a batch is that of the records: `sum_inplace` turns to `sum_batch_inplace`.
# For users: `(batch * weights).sum(1)` for one set of weights, or `batch=False`. Check one decrypted result against plain
#   numbers.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check tenseal==0.3.18 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import numpy as np
import tenseal as ts

context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
context.global_scale = 2**40
context.generate_galois_keys()


def encrypted(values, batch):
    return ts.ckks_tensor(context, ts.plain_tensor(values.ravel().tolist(), list(values.shape)), batch=batch)


def plain(values):
    return ts.plain_tensor(values.ravel().tolist(), list(values.shape))


def numbers(tensor):
    return np.array(tensor.decrypt().tolist())


def close(left, right):
    return left.shape == right.shape and bool(np.allclose(left, right, atol=1e-3))


records = np.arange(12.0).reshape(3, 4)
one, two = np.array([1.0, 0.5, -1.0, 2.0]), np.arange(8.0).reshape(4, 2)
print(f"tenseal {ts.__version__}; expected: the same with and without batch")
right, wrong = [], []
for name, weights in [("two sets of weights", two), ("one set of weights", one)]:
    single, batch = (numbers(encrypted(records, packed).dot(plain(weights))) for packed in (False, True))
    right.append(close(single, records @ weights))
    wrong.append(close(batch.T, records.sum(0) * weights.T))
    print(f"  {name}: {single.round(2).tolist()} without, {batch.round(2).tolist()} with batch")
both = numbers(encrypted(records, True).dot(encrypted(records + 1, True)))
wrong.append(close(both, (records * (records + 1)).sum(0)))
right.append(close(numbers((encrypted(records, True) * plain(one)).sum(1)), records @ one))
square = numbers(encrypted(records[:, :3], True).dot(plain(one[:3])))
wrong.append(close(square, records[:, :3].sum(0) * one[:3]))
print(f"  as many records as values: {square.round(2).tolist()} instead of {(records[:, :3] @ one[:3]).tolist()}")
print(f"  (batch * weights).sum(1) is right: {right[-1]}")
if not all(right + wrong):
    sys.exit("no longer so")
PY
