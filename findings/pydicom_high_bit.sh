#!/usr/bin/env bash
# pydicom: where an image's bits do not begin at the lowest of their word, other bits come out, without a word.
#
# One would guess: of 16 bits allocated and 12 stored with HighBit 15, the value is the upper twelve bits of each word, as the attribute
#   (0028,0102), "most significant bit for pixel sample data", says; or that the file is refused.
# What happens: `pixel_array` gives the lower twelve bits, whatever HighBit is: the image loses its four highest bits to whatever stood
#   below it. No error, no warning. With HighBit 11 the same call is right.
# Versions: pydicom 3.0.2, numpy 2.4.6.
# Why: the shift that clears the spare bits, in pydicom/pixels/decoders/base.py, counts from BitsStored; HighBit is not read there.
# For users: where HighBit is not BitsStored - 1, set both to the whole word, decode, and shift the values yourself.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import warnings

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

values = np.arange(16, dtype=np.uint16).reshape(4, 4) * 257  # twelve bits
warnings.simplefilter("error")


def saved(words: np.ndarray, high: int) -> np.ndarray:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 4, 4, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, high, 0
    data.PixelData = words.tobytes()
    data.save_as("x.dcm", enforce_file_format=True)
    return pydicom.dcmread("x.dcm").pixel_array


low, high = saved(values, 11), saved(values << 4, 15)
print(f"pydicom {pydicom.__version__}")
print(f"  HighBit 11: expected {values[1].tolist()}, seen {low[1].tolist()}")
print(f"  HighBit 15: expected {values[1].tolist()}, seen {high[1].tolist()}")
if not np.array_equal(low, values) or not np.array_equal(high, (values << 4) & 0x0FFF):
    sys.exit("no longer so")
PY
