#!/usr/bin/env bash
# LightPHE: an encrypted value times a number such as 0.1 decrypts to about 1e146 where the product has one digit too many.
#
# One would guess: `encrypt([1.5, 0.12345]) * 0.1` decrypts to 0.15 and about 0.0123, rounded to the precision, which is five
#   decimals. A fixed-point product rounds.
# What happens: the first is right, and the second is a number of 147 digits. Which elements of a tensor it hits depends on
#   their last digit. Encrypted whole numbers are the same: 10 * 0.5 is 5, and 5 * 0.5 is a number of about as many digits as
#   the key. A gradient that is averaged over clients or multiplied by a learning rate is hit in most of its elements. Nothing
#   is warned of.
# Versions: lightphe 0.0.27.
# Why: `normalize_input` in lightphe/commons/phe_utils.py turns 0.1 into the inverse of 10 modulo the modulus of the key,
#   and `EncryptedTensor.__mul__` in lightphe/models/Tensor.py keeps the divisor. That is a division only where the encrypted whole
#   number has the factor 10; elsewhere it is a number that has nothing to do with the quotient.
#   For single numbers the maintainer has said that the product must be whole (issue 20); a tensor is said to hold floats.
# For users: multiply by a list of the factor, which gives the product a divisor of its own.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check lightphe==0.0.27
venv/bin/python - <<'PY'
import random
import sys
from importlib.metadata import version

from lightphe import LightPHE

FACTOR = 0.1
scheme = LightPHE("Paillier", key_size=512)  # small, to be quick; larger keys give larger numbers
draws = random.Random(0)
values = [1.5, 0.12345] + [draws.random() for _ in range(48)]
hidden = scheme.encrypt(values, silent=True)
products = scheme.decrypt(hidden * FACTOR)
listed = scheme.decrypt(hidden * ([FACTOR] * len(values)))
print(f"lightphe {version('lightphe')}; times {FACTOR}")
for value, seen in list(zip(values, products))[:4]:
    print(f"  {value:.5f}: expected about {value * FACTOR:.5f}; seen {seen:.5g}")
wrong = sum(abs(seen - value * FACTOR) > 1 for value, seen in zip(values, products))
beside = max(abs(seen - value * FACTOR) for value, seen in zip(values, listed))
print(f"  {wrong} of {len(values)} are wrong; times a list of {FACTOR} the largest error is {beside:.1g}")
wholes = [scheme.decrypt(scheme.encrypt(number) * 0.5) for number in (10, 5)]
print(f"  10 * 0.5: expected 5, seen {wholes[0]}; 5 * 0.5: expected 2.5, 2, or 3, seen {wholes[1]:.2g}")
if abs(products[0] - 0.15) > 1e-6 or products[1] < 1e100 or wrong < 25 or beside > 1e-4 or wholes[0] != 5 or wholes[1] < 10**100:
    sys.exit("no longer so")
PY
