#!/usr/bin/env bash
# pydicom: lossless compression of a colour image whose planes are stored one after another makes another image of it.
#
# One would guess: `Dataset.compress` turns the uncompressed pixel data of a dataset, as the dataset describes them, into the
#   same image, compressed; for RGB in either planar configuration (0028,0006), which `pixel_array` reads both.
# What happens: with Planar Configuration 1, `compress(RLELossless)` packs the bytes as if they were pixel by pixel: nearly
#   every value of the compressed image is wrong, with no error and no warning, and the uncompressed data are gone. All three
#   RLE plugins do so. JPEG 2000 is the other way round: it is right from the dataset, and wrong where one gives the array,
#   `compress(uid, pixel_array)`.
# Versions: pydicom 3.0.2, pylibjpeg 2.1.0, pylibjpeg-openjpeg 2.6.0, numpy 2.4.6.
# Why: pydicom/pixels/encoders/base.py, `EncodeRunner._get_frame_buffer` hands the bytes of the dataset on as they lie, and the
#   RLE encoder (`_encode_frame` in native.py) takes every third one; `_get_frame_array` hands on pixel by pixel, whatever the
#   dataset says (it minds the planes for JPEG-LS alone). The guide to RLE encoding says nothing of planes; no issue of pydicom
#   was found.
# For users: take `array = dataset.pixel_array` first, then set PlanarConfiguration to 0, then `compress(uid, array)`; that is
#   right for all of them. Compare before you throw away.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
    pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import warnings

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless, SecondaryCaptureImageStorage

warnings.simplefilter("error")
image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def dataset(planar: int) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 64, 80, 3, "RGB"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PlanarConfiguration = planar
    data.PixelData = (image.transpose(2, 0, 1) if planar else image).tobytes()
    data["PixelData"].VR = "OB"
    data.save_as("plain.dcm", enforce_file_format=True)
    read = pydicom.dcmread("plain.dcm")
    assert np.array_equal(read.pixel_array, image)
    return read


def wrong(planar: int, syntax, from_array: bool) -> float:
    """The part of the values that are not those before the compression."""
    data = dataset(planar)
    data.compress(syntax, data.pixel_array if from_array else None)
    data.save_as("packed.dcm")
    return float((pydicom.dcmread("packed.dcm").pixel_array != image).mean())


print(f"pydicom {pydicom.__version__}; expected everywhere: 0 % of the values changed by lossless compression")
seen = {}
for syntax, name in ((RLELossless, "RLE"), (JPEG2000Lossless, "JPEG 2000")):
    for planar in (0, 1):
        for from_array in (False, True):
            seen[name, planar, from_array] = wrong(planar, syntax, from_array)
            print(f"seen: {name}, planar configuration {planar}, from the {'array' if from_array else 'dataset'}: "
                  f"{seen[name, planar, from_array]:.1%} changed")
bad = {("RLE", 1, False), ("JPEG 2000", 1, True)}
if any((part > 0.9) != (key in bad) or (key not in bad and part) for key, part in seen.items()):
    sys.exit("no longer so")
PY
