#!/usr/bin/env bash
# ccdproc: subtracting a bias or dark frame from a raw frame makes its darkest pixels the brightest.
#
# One would guess: `ccdproc.subtract_bias(raw, bias)` gives small negative numbers where noise puts the raw pixel below the bias,
#   as `subtract_overscan` of the same frames does.
# What happens: `CCDData.read` reads a camera's 16-bit FITS files as uint16, and the difference is uint16 as well: -3 becomes
#   65,533. Of frames that hold only bias and noise, half of the pixels do. The mean of the result is about 30,000 instead of 0.
#   `subtract_dark` does the same, and so do operations of the frame itself: `raw.multiply(2)` of 40,000 is 14,464. Combining
#   several bias frames gives floats, and then all is well, so that it shows only with a single frame.
# Versions: ccdproc 2.5.1, astropy 8.0.2, numpy 2.4.6.
# Why: `subtract_bias` in ccdproc/core.py is `ccd.subtract(master)`, and astropy's `CCDData` computes in the type of the data.
# For users: `raw.data = raw.data.astype(float)` after reading.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check ccdproc==2.5.1 astropy==8.0.2 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import astropy.units as u
import ccdproc
import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData

rng = np.random.default_rng(0)
for name in "raw", "bias":
    fits.writeto(f"{name}.fits", rng.normal(1000, 5, (100, 100)).astype(np.uint16))
raw, bias = (CCDData.read(f"{name}.fits", unit="adu") for name in ("raw", "bias"))
right = raw.data.astype(float) - bias.data
seen = ccdproc.subtract_bias(raw, bias).data
dark = ccdproc.subtract_dark(raw, bias, dark_exposure=1 * u.s, data_exposure=1 * u.s).data
combined = ccdproc.subtract_bias(raw, ccdproc.combine([bias] * 3, method="average")).data
print(f"ccdproc {version('ccdproc')}, astropy {version('astropy')}; raw and bias are read as {raw.dtype} and {bias.dtype}")
for name, values in ("expected", right), ("seen", seen), ("subtract_dark", dark), ("three combined frames", combined):
    print(f"  {name}: {values.dtype}, from {values.min():.0f} to {values.max():.0f}, mean {values.mean():.1f}")
bright = float((seen > 60000).mean())
if raw.dtype != np.uint16 or not 0.3 < bright < 0.6 or dark.max() < 60000 or abs(combined.mean() - right.mean()) > 0.01:
    sys.exit("no longer so")
PY
