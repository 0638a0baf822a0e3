#!/usr/bin/env bash
# hdf5plugin: the filters that promise a largest error give another image for an array of the other byte order.
#
# One would guess: a float array comes back within the bound that the filter was given, in whatever byte order NumPy holds it.
#   Arrays of big-endian floats are common: astropy gives them for each FITS file of floats, and other readers for big-endian
#   files. h5py keeps the order, and the lossless filters give such arrays back.
# What happens: on a little-endian computer Zfp, SZ3 and Sperr take the bytes of a big-endian float for those of a little-endian
#   one. A ramp from 0 to 126 comes back as zeros or as numbers like 5e-247, though 0.001 was the largest error asked for. No
#   error, no warning.
# Versions: hdf5plugin 7.1.0, h5py 3.16.0 (HDF5 2.0.0), numpy 2.4.6.
# Why: a filter gets the values in the byte order of the file. H5Z_SZ3.cpp and h5z-sperr.c (`can_apply`, `set_local`) look at
#   the class and the size of the type and not at its order; `H5Z_zfp_can_apply` in H5Zzfp.c means to refuse such types (see
#   also the issue 25 of LLNL/H5Z-ZFP), but here it does not.
# For users: give `array.astype(array.dtype.newbyteorder("="))` to `create_dataset`, and read back what a lossy filter has
#   stored.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check hdf5plugin==7.1.0 h5py==3.16.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import warnings

import h5py
import hdf5plugin
import numpy as np

warnings.simplefilter("error")
if sys.byteorder != "little":
    sys.exit("this is about little-endian computers")
BOUND = 0.001
ramp = np.add.outer(np.arange(64), np.arange(64))
FILTERS = {
    "Zfp": hdf5plugin.Zfp(accuracy=BOUND),
    "SZ3": hdf5plugin.SZ3(absolute=BOUND),
    "Sperr": hdf5plugin.Sperr(absolute=BOUND),
    "Blosc2 (lossless)": hdf5plugin.Blosc2(),
}


def stored(array: np.ndarray, compression) -> np.ndarray:
    with h5py.File("image.h5", "w") as file:
        file.create_dataset("image", data=array, chunks=array.shape, compression=compression)
    with h5py.File("image.h5") as file:
        return file["image"][:]


print(f"hdf5plugin {hdf5plugin.version}, h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}")
print(f"expected: errors of at most {BOUND}")
seen = {}
for name, compression in FILTERS.items():
    for order in ("<f4", ">f4", "<f8", ">f8"):
        back = stored(ramp.astype(order), compression)
        seen[name, order] = float(np.abs(back.astype(np.float64) - ramp).max())
        print(f"seen: {name}, {order}: largest error {seen[name, order]:.3g}; 1, 2, 3 are "
              + ", ".join(f"{value:.4g}" for value in back[0, 1:4]))
for (name, order), error in seen.items():
    broken = "lossless" not in name and order.startswith(">")
    if (error > 1) != broken or (not broken and error > BOUND):
        sys.exit("no longer so")
PY
