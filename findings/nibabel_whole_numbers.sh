#!/usr/bin/env bash
# nibabel: a mask of zeros and ones that is read and saved again holds no one any more.
#
# One would guess: a NIfTI file of int16, read by `get_fdata()` and saved with its own header, holds what it held: the values are whole
#   numbers that int16 has, so they are stored as they are.
# What happens: values read so are float64, and floats are saved to integers with a slope and an offset that spread them over all of
#   int16. What comes back is off by a little: of a mask of 0 and 1 every 1 is a little less than 1, and `astype(int)` makes it 0. In a CT-like
#   image with negative values, voxels that were set to 0 (a face that was removed, say) are none of them 0.
# Versions: nibabel 5.4.2, numpy 2.4.6.
# Why: nibabel/arraywriters.py, `SlopeInterArrayWriter`: it looks at the type of the array, not at its values; see also the issues 1001
#   and 1344 of nipy/nibabel.
# For users: take `numpy.asanyarray(image.dataobj)`, which stays int16, or round and convert before saving; round what is read.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check nibabel==5.4.2 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import nibabel as nib
import numpy as np


def saved_again(values: np.ndarray) -> np.ndarray:
    """Written as int16, read by get_fdata(), written with its header, and read once more."""
    nib.save(nib.Nifti1Image(values, np.eye(4)), "first.nii")
    first = nib.load("first.nii")
    assert first.get_data_dtype() == np.int16 and (first.get_fdata() == values).all()
    nib.save(nib.Nifti1Image(first.get_fdata(), first.affine, first.header), "second.nii")
    second = nib.load("second.nii")
    assert second.get_data_dtype() == np.int16
    return second.get_fdata()


draws = np.random.default_rng(0)
mask = draws.integers(0, 2, (16, 16, 16)).astype(np.int16)
again = saved_again(mask)
scan = draws.integers(-1000, 2000, (16, 16, 16)).astype(np.int16)
scan[:4] = 0
scanned = saved_again(scan)
print(f"nibabel {nib.__version__}")
print(f"a mask with {mask.sum()} ones, saved again: {again.astype(int).sum()} ones; the largest value is 1 - {1 - again.max():.1e}")
print(f"a scan with {(scan == 0).sum()} zeros, saved again: {(scanned == 0).sum()} zeros; they read {scanned[0, 0, 0]:.4f}")
if again.astype(int).any() or not (0.999 < again.max() < 1) or (scanned == 0).any():
    sys.exit("no longer so")
PY
