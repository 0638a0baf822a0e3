#!/usr/bin/env bash
# LightPHE: the encrypted score of a linear model loses its bias, or loses everything but the bias.
#
# One would guess: for an encrypted record x, weights w and an encrypted bias b, `(x @ w) + b` decrypts to the score, here
#   15.625, and so does `b + (x @ w)`.
# What happens: the first is 5.6251, where the bias of 10 has become 0.0001; the second is 562,510. Neither warns. The sum of
#   any two tensors of which one was multiplied by a list is as wrong: `(x * w) + b` of [1.5, 2.25] * [2, 0.5] + [1, 1] is
#   [3.00001, 1.12501].
# Versions: lightphe 0.0.27.
# Why: the values of a tensor are encrypted fractions with a common divisor of 10 ** 5; a product with a list makes it 10 ** 10.
#   `EncryptedTensor.__add__` in lightphe/models/Tensor.py adds the dividends and keeps the divisor of the left tensor, without
#   a look at the other's.
# For users: add tensors before the product, or multiply the bias by a list of ones ([1.0]) first, so that the divisors are equal.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check lightphe==0.0.27
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

from lightphe import LightPHE

scheme = LightPHE("Paillier", key_size=512)  # small, to be quick; it's the same with larger keys


def hidden(values):
    return scheme.encrypt(values, silent=True)


record, weights, bias = hidden([1.5, 2.25, 0.5]), [2.0, 0.5, 3.0], hidden([10.0])
product = record @ weights
seen = {
    "x @ w": (5.625, scheme.decrypt(product)[0]),
    "(x @ w) + b": (15.625, scheme.decrypt(product + bias)[0]),
    "b + (x @ w)": (15.625, scheme.decrypt(bias + product)[0]),
    "(x @ w) + b * [1.0]": (15.625, scheme.decrypt(product + bias * [1.0])[0]),
}
rows = scheme.decrypt((hidden([1.5, 2.25]) * [2.0, 0.5]) + hidden([1.0, 1.0]))
print(f"lightphe {version('lightphe')}")
for name, (expected, value) in seen.items():
    print(f"  {name}: expected {expected}; seen {value}")
print(f"  (x * w) + b of two values: expected [4.0, 2.125]; seen {rows}")
right, left, swapped, scaled = (abs(value - expected) for expected, value in seen.values())
if max(right, scaled) > 1e-3 or left < 9 or swapped < 1e5 or abs(rows[0] - 3) > 0.01:
    sys.exit("no longer so")
PY
