#!/usr/bin/env bash
# tifffile: each file of an OME-TIFF of several files reads as the whole image, and where one is missing its part is black.
#
# One would guess: reading one file gives its planes, or an error if the rest is missing; a folder of such files gives each plane once.
# What happens: `imread` opens the other files that the XML names, from the same folder, so that every file of the set gives the same
#   image: a data set made of the folder holds each image as often as it has files. Of a file whose neighbour is gone the missing plane
#   is zeros; a line of the log says so, which `warnings` set to errors do not turn into one.
# Versions: tifffile 2026.3.3, numpy 2.4.6.
# For users: look for more than one UUID in `TiffFile.ome_metadata` before `series` or `asarray`, and for None in `series.pages`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check tifffile==2026.3.3 numpy==2.4.6
venv/bin/python - <<'PY'
import os
import sys
import warnings

import numpy as np
import tifffile

warnings.simplefilter("error")
IDS = {name: f"urn:uuid:00000000-0000-0000-0000-00000000000{name}" for name in "ab"}
PLANES = "".join(
    f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="{name}.ome.tif">{IDS[name]}</UUID></TiffData>'
    for c, name in enumerate("ab")
)
for value, name in ((100, "a"), (200, "b")):
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{IDS[name]}"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="32" SizeY="32" SizeC="2" SizeZ="1" SizeT="1">'
        f'<Channel ID="Channel:0:0"/><Channel ID="Channel:0:1"/>{PLANES}</Pixels></Image></OME>'
    )
    tifffile.imwrite(f"{name}.ome.tif", np.full((32, 32), value, np.uint16), description=xml, metadata=None)

print(f"tifffile {tifffile.__version__}; expected: a plane of each file, an error where a file is missing")
seen = {}
for name in "ab":
    planes = tifffile.imread(f"{name}.ome.tif")
    seen[name] = (planes.shape, planes.reshape(2, -1).mean(axis=1).tolist())
    print(f"seen: {name}.ome.tif is {planes.shape} with the means {seen[name][1]}")
os.remove("b.ome.tif")
planes = tifffile.imread("a.ome.tif")
alone = (planes.shape, planes.reshape(2, -1).mean(axis=1).tolist())
print(f"seen: a.ome.tif without b.ome.tif is {planes.shape} with the means {alone[1]}")
both = ((2, 32, 32), [100.0, 200.0])
if seen != {"a": both, "b": both} or alone != ((2, 32, 32), [100.0, 0.0]):
    sys.exit("no longer so")
PY
