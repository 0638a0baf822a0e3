#!/usr/bin/env bash
# HDF5: with a user block, the offset of a data set that has no storage is the user block's size minus 1.
#
# One would guess: `dataset.id.get_offset()` gives None for a data set without storage, with a user block as without. So says the
#   method's docstring ("datasets for which space has not yet been allocated in the file").
# What happens: without a user block it is None, with one of 512 bytes it is 511, which looks like a place in the file. The
#   offset of a data set with storage counts from the beginning of the file, so the user block must not be added to it.
# Versions: h5py 3.16.0 with HDF5 2.0.0.
# Why: `H5D__get_offset` in HDF5's src/H5Dint.c adds the base address unless the data set has external files; "no address" is
#   the largest 64-bit number, and the sum wraps around.
# For users: look at `dataset.id.get_storage_size()` or `dataset.size` before the offset.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check h5py==3.16.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import h5py

print(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}")
print("expected: the same offset of an empty data set, None, for each user block")
seen = {}
for block in (0, 512, 1024):
    with h5py.File("a.h5", "w", userblock_size=block) as file:
        unwritten = file.create_dataset("unwritten", (10,), "u1").id
        written = file.create_dataset("written", data=list(b"these bytes"), dtype="u1").id
        seen[block] = unwritten.get_offset()
        offset, size = written.get_offset(), unwritten.get_storage_size()
    with open("a.h5", "rb") as raw:
        place = raw.read().find(b"these bytes")
    print(f"seen: user block {block}: unwritten {seen[block]} (storage {size}), written {offset}, found in the file at {place}")
    if offset != place or size != 0:
        sys.exit("no longer so")
if seen != {0: None, 512: 511, 1024: 1023}:
    sys.exit("no longer so")
PY
