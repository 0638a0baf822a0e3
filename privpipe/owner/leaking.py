"""What an adversary with known pairs is assumed to hold: the originals of some training images."""

from dataclasses import replace
from pathlib import Path

from privpipe.salt import derived_salt
from privpipe.store import LEAKED, RAW, create, open_store


def leak(source: str | Path, target: str | Path, count: int) -> None:
    """Copy the first `count` training images of `source` (RAW), or all if there are fewer, into `target` (LEAKED).

    Row i of them is the original of row i of the perturbed training images. The adversary holds the file: its salt does
    not tell that of `source`.

    Raises:
        PrivpipeError: `source` is missing or damaged, or `target` cannot be written.
    """
    with open_store(source, RAW) as store:
        total = min(count, store.counts["train"])
        counts = {"train": total, "val": 0, "test": 0}
        labels = store.labels("train")
        header = replace(store.header, kind=LEAKED, salt=derived_salt(store.header.salt, "leaked"))
        with create(target, header, counts) as writer:
            for start, stop in store.spans("train"):
                stop = min(stop, total)
                if start < stop:
                    writer.write("train", start, store.rows("train", start, stop), labels[start:stop])
