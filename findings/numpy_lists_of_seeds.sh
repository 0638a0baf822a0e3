#!/usr/bin/env bash
# NumPy: different lists of seeds are the same stream: `[5, 0]` is `5`, and `[5, 1]` is `5 + 2**32`.
#
# One would guess: `default_rng([seed, image])` hashes the whole list, as its documentation says of lists of integers, so that
#   each list is a stream of its own, apart from that of `default_rng(seed)`.
# What happens: the numbers are written one after the other as words of 32 bits, without their count or lengths, and the end is
#   filled with zeros up to four words. So zeros at the end do not count: image 0 gets the noise that `default_rng(seed)` draws,
#   perhaps for the order of the images, and trial 0 of an image has the stream of `[seed, image]`. A number of 33 bits or more
#   is as two numbers. Children made by `spawn` are apart: for them the length was mended in NumPy 1.19.
# Versions: numpy 2.4.6.
# Why: `SeedSequence.mix_entropy`, `get_assembled_entropy` and `_coerce_to_uint32_array` in numpy/random/bit_generator.pyx; see
#   issue 16539 of numpy/numpy, whose change kept the streams of lists as they were.
# For users: count from 1, or end the list with a number that is never 0, and keep each below 2**32: `[seed, image, trial, 1]`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import numpy as np


def stream(seed):
    return np.random.default_rng(seed).integers(1 << 62, size=100).tolist()


SEED, IMAGE = 42, 7
pairs = [
    ([SEED, 0], SEED, True),
    ([SEED, IMAGE, 0], [SEED, IMAGE], True),
    ([SEED, 0, 0, 0], [SEED], True),
    ([SEED, IMAGE], SEED + (IMAGE << 32), True),
    ([SEED, IMAGE, 1], [SEED + (IMAGE << 32), 1], True),
    ([SEED, 0, 1], [SEED, 1], False),
    ([0, SEED], [SEED], False),
    (np.random.SeedSequence(SEED).spawn(1)[0], SEED, False),
]
print(f"numpy {np.__version__}; expected: each pair is two streams")
results = []
for left, right, _ in pairs:
    results.append(stream(left) == stream(right))
    name = "the first child of 42" if isinstance(left, np.random.SeedSequence) else str(left)
    print(f"  {name} and {right}: {'one stream' if results[-1] else 'two streams'}")
if results != [expected for *_, expected in pairs]:
    sys.exit("no longer so")
PY
