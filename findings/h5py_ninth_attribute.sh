#!/usr/bin/env bash
# HDF5: with a newer format, the ninth attribute of an object moves all its attributes to another kind of storage.
#
# One would guess: one attribute more makes a file larger by one attribute.
# What happens: with `libver="latest"`, or bounds from v108 on, 9 attributes are stored in a fractal heap with a B-tree as their
#   index (their signatures FRHP and BTHD appear) and no longer in the object's header; a file of one small data set grows by a
#   kilobyte. With the default bounds, or after `set_attr_phase_change` on the creation properties, nothing of the kind happens.
# Versions: h5py 3.16.0 with HDF5 2.0.0.
# Why: `H5O_CRT_ATTR_MAX_COMPACT_DEF` is 8 in HDF5's src/H5Opkg.h, and applies to object headers of version 2. h5py's
#   `create_dataset` has no argument for it; `h5py.h5p.create(h5py.h5p.DATASET_CREATE).set_attr_phase_change(32, 0)` sets it.
# For users: whoever reads attributes without the HDF5 library, or compares files of equal content byte by byte, must not cross
#   the limit by chance.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check h5py==3.16.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys
import h5py


def bytes_of(count, libver, limit=None):
    """A file with one data set of three numbers that has `count` attributes."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if limit:
        create.set_attr_phase_change(limit, 0)
    with h5py.File("a.h5", "w", libver=libver) as file:
        space = h5py.h5s.create_simple((3,))
        dataset = h5py.Dataset(h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, create))
        dataset[...] = 1
        for index in range(count):
            dataset.attrs[f"a{index}"] = index
    with open("a.h5", "rb") as file:
        return file.read()


print(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}; expected: no heap, whatever the number of attributes")
for name, libver, limit, expected in (
    ("default", None, None, (False, False)),
    ("latest", "latest", None, (False, True)),
    ("v108", ("v108", "v108"), None, (False, True)),
    ("latest, limit 32", "latest", 32, (False, False)),
):
    eight, nine = bytes_of(8, libver, limit), bytes_of(9, libver, limit)
    heap = tuple(b"FRHP" in file and b"BTHD" in file for file in (eight, nine))
    print(f"seen: {name}: 8 attributes: heap {heap[0]}, {len(eight)} bytes; 9 attributes: heap {heap[1]}, {len(nine)} bytes")
    if heap != expected:
        sys.exit("no longer so")
PY
