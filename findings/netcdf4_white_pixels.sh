#!/usr/bin/env bash
# netCDF4: the white pixels of a uint8 image are read as missing.
#
# One would guess: a variable of uint8 without `_FillValue` and `missing_value` holds an image with values from 0 to 255, and
#   reads as such: the changes of version 1.0.8 say "default _FillValue now ignored for byte data types (int8 and uint8)", and
#   netCDF's own page on fill values says that byte types are to have none when read. xarray reads the file so.
# What happens: `variable[:]` is a masked array in which each 255 is missing. The mean of an image gets darker, `max()` is never
#   255, and `filled(0)` or `filled(nan)` makes holes where a scan is saturated. `numpy.asarray(variable[:])` has them all
#   again, so that two ways of reading one variable disagree. It is the same with -127 in int8, -32767 in int16 and 65,535 in
#   uint16, where netCDF foresees it.
# Versions: netCDF4 1.7.4, numpy 2.4.6.
# Why: `Variable._toma` in netCDF4/_netCDF4.pyx. Its comment says "if no_fill is not 1, and not a byte variable", and the code
#   asks for either of the two, so that bytes are spared only where filling was turned off. The issue 209 of
#   Unidata/netcdf4-python is what that was for.
# For users: `dataset.set_auto_mask(False)` before reading, or `createVariable(..., fill_value=False)` when writing.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check netCDF4==1.7.4 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import warnings

import netCDF4
import numpy as np

warnings.simplefilter("error")
image = np.full((4, 4), 200, np.uint8)
image[:2] = 255


def saved(name: str, **options) -> None:
    with netCDF4.Dataset(name, "w") as file:
        file.createDimension("y", 4)
        file.createDimension("x", 4)
        file.createVariable("image", "u1", ("y", "x"), **options)[:] = image


saved("image.nc")
saved("unfilled.nc", fill_value=False)
with netCDF4.Dataset("image.nc") as file:
    assert not file["image"].ncattrs()
    masked = file["image"][:]
    file.set_auto_mask(False)
    plain = file["image"][:]
with netCDF4.Dataset("unfilled.nc") as file:
    unfilled = file["image"][:]
print(f"netCDF4 {netCDF4.__version__}, netCDF {netCDF4.__netcdf4libversion__}")
print(f"expected: no missing pixel, a mean of {image.mean()}, a maximum of {image.max()}")
print(f"seen: {np.ma.count_masked(masked)} of 16 pixels are missing, the mean is {masked.mean()}, the maximum {masked.max()}")
print(f"seen with set_auto_mask(False): the mean is {plain.mean()}; written with fill_value=False: {unfilled.mean()}")
right = np.array_equal(plain, image) and unfilled.mean() == image.mean()
if np.ma.count_masked(masked) != 8 or masked.mean() != 200 or not right:
    sys.exit("no longer so")
PY
