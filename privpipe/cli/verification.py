"""Whole files against the checksums in them, for `privpipe verify`."""

from pathlib import Path

import h5py

from privpipe.attacks.records import FORMAT as RECORDS
from privpipe.attacks.records import load_records
from privpipe.checksum import check
from privpipe.errors import PrivpipeError
from privpipe.header import damaged
from privpipe.nn.bundle import load_bundle
from privpipe.released import RELEASED, load_released
from privpipe.store import LEAKED, PERTURBED, PUBLIC, QUERIES, RAW, SPLITS, open_store

IMAGES = (RAW, PERTURBED, PUBLIC, LEAKED, QUERIES)


def verify_file(path: str | Path) -> str:
    """Read all of an HDF5 file, or of a model file (`.safetensors`), as its readers do.

    Returns:
        What it holds, in a few words.

    Raises:
        PrivpipeError: the file is missing, damaged, or none of privpipe's.
    """
    path = Path(path)
    if not path.is_file():
        raise PrivpipeError(f"{path} is missing. Name an HDF5 or model file of privpipe.")
    if path.suffix == ".safetensors":
        return f"privpipe-model, {load_bundle(path).architecture.arch}"
    kind = _format(path)
    if kind == RECORDS:
        return f"{kind}, {len(load_records(path))} runs of attacks"
    if kind == RELEASED:
        return f"{kind}, {load_released(path).about.method}"
    if kind not in IMAGES:
        known = ", ".join((*IMAGES, RECORDS, RELEASED))
        raise PrivpipeError(f"{path} has the format {kind!r}; {known} can be verified.")
    with open_store(path, kind) as store:
        for split in SPLITS:
            store.labels(split)
            for start, stop in store.spans(split):
                store.rows(split, start, stop)
        return f"{kind}, {sum(store.counts.values()):,} images"


def _format(path: Path) -> str:
    """What an HDF5 file says that it is, after its checksum was compared."""
    try:
        with path.open("rb", buffering=0) as file:
            check(file.fileno())
        with h5py.File(path, "r") as file:
            form = file.attrs["format"]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise damaged(path, str(error)) from error
    return form.decode(errors="replace") if isinstance(form, bytes) else str(form)
