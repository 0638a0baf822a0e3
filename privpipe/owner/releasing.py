"""The owner's step across the boundary where nothing leaves but a release of the whole set; and the queries at home."""

import hashlib
import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np

from privpipe.errors import PrivpipeError
from privpipe.owner.key import Key
from privpipe.owner.perturbing import perturb_file
from privpipe.owner.releases import Entry, record
from privpipe.parameters import Perturb
from privpipe.perturb import RELEASES
from privpipe.perturb.keystream import SECRET_BYTES, KeyStream
from privpipe.perturb.release import Labelled, NoisyRelease, SetRelease
from privpipe.perturb.values import Images
from privpipe.released import About, Released, save_released, sha256_of
from privpipe.salt import derived_salt
from privpipe.store import PUBLIC, QUERIES, RAW, SPLITS, create, open_store

ASKED = ("val", "test")  # splits whose images are queries
Metrics = dict[str, int | float | str | None]


def cross(
    images: str | Path,
    public: str | Path | None,
    perturbed: str | Path,
    queries: str | Path,
    settings: Perturb,
    key: Key,
    budget: float | None = None,
    progress: bool = True,
) -> Metrics:
    """What `perturb.method` says: perturb every image into `perturbed`, or write one release of the whole set there.

    Args:
        images, public: files of these kinds (RAW, PUBLIC); public ones are needed for releases of a whole set only.
        queries: file to write (QUERIES): the images of `val` and `test` in the form that a model takes which is fitted
            to a release; without images where perturbed ones are in `perturbed`.
        budget: as `key.budget`.

    Returns:
        What `perturb_file` or `release_file` returns.

    Raises:
        PrivpipeError: see these.
    """
    if settings.method not in RELEASES:
        write_queries(images, queries, settings, ())
        return {**perturb_file(images, perturbed, settings, key, progress)}
    if public is None:
        raise PrivpipeError(f"{settings.method} needs public images; got none. Name the file of them.")
    write_queries(images, queries, settings, ASKED)
    return release_file(images, public, perturbed, queries, settings, key, budget)


def release_file(
    images: str | Path,
    public: str | Path,
    target: str | Path,
    queries: str | Path,
    settings: Perturb,
    key: Key,
    budget: float | None = None,
) -> Metrics:
    """Write one release of the training images of `images` (RAW) to `target`, within the budget of the key.

    The noise of a real key is the operating system's and is forgotten: not even whoever finds the key later can take it
    off. So a second run makes a second release, which the ledger counts. The noise of a research key follows from the
    key, the settings and all images, so that an experiment can be made again. So does what is random in a method that
    promises nothing and need not forget it (`SetRelease.forgets`): of that a second run makes the same release.

    Args:
        queries: the file of them that goes with the release.
        budget: epsilon that all releases under a real key may come to; None: no limit.

    Returns:
        As `perturb_file`, without a change of images; and `release_digest`, and `epsilon`, `delta`, `mu` and
        `epsilon_spent` (of all releases under a real key with this one), None without a guarantee.

    Raises:
        PrivpipeError: a file is missing or damaged, there are too few public images, the budget would be passed, or
            `target` cannot be written.
    """
    with open_store(images, RAW) as store:
        header, counts = store.header, store.counts
        private = Labelled(store.images("train"), store.labels("train"))
    with open_store(public, PUBLIC) as store:
        others, known = store.images("train"), store.header.class_names == header.class_names
        others_labels = store.labels("train") if known else None  # a folder of others need not have them
        if store.header.shape != header.shape:
            raise PrivpipeError(
                f"{public} has images of shape {store.header.shape}, {images} of {header.shape}. Make both again with "
                "`dvc repro`."
            )
    release = RELEASES[settings.method](header.shape[0], **settings.own)
    stream = release_stream(release, private, others, key)
    numbers = release.release(private, others, others_labels, len(header.class_names), stream)
    shape, names = header.shape, header.class_names
    about = About(release.name, release.form, release.settings, names, shape, sha256_of(queries), header.reading)
    released = Released(about, numbers)
    guaranteed: Metrics = dict.fromkeys(("epsilon", "delta", "mu", "epsilon_spent"))
    if isinstance(release, NoisyRelease):
        entry = Entry(released.digest, release.name, release.mu, release.epsilon, release.delta)
        guaranteed["epsilon_spent"] = record(key, entry, budget)
        guaranteed |= {"epsilon": release.epsilon, "delta": release.delta, "mu": release.mu}
    save_released(target, released)
    return {
        **{f"n_{split}": counts[split] for split in SPLITS},
        "bytes": sum(values.nbytes for values in numbers.values()),
        "rms_change": None,
        "key_fingerprint": key.fingerprint,
        "key_research": key.research,
        **guaranteed,
        "release_digest": released.digest,
    }


def release_stream(release: SetRelease, private: Labelled, public: Images, key: Key) -> KeyStream:
    """Random bytes for one release and for nothing else, see `release_file`."""
    if release.forgets:
        return noise_stream(release, private, key)
    state = hashlib.sha256(np.ascontiguousarray(public).data)
    return _bound_stream(release, private, key).child("public", state.hexdigest())


def noise_stream(release: SetRelease, private: Labelled, key: Key) -> KeyStream:
    """Random bytes for the noise of one release and for nothing else, see `release_file`."""
    if not key.research:
        return KeyStream(secrets.token_bytes(SECRET_BYTES))
    return _bound_stream(release, private, key)


def _bound_stream(release: SetRelease, private: Labelled, key: Key) -> KeyStream:
    """The stream of the key, the settings and all images."""
    state = hashlib.sha256(np.ascontiguousarray(private.images).data)
    state.update(np.ascontiguousarray(private.labels).data)
    settings = [f"{name}={value.hex()}" for name, value in sorted(release.settings.items())]
    return key.stream.child(release.name, *settings, "set", state.hexdigest())


def write_queries(source: str | Path, target: str | Path, settings: Perturb, asked: tuple[str, ...]) -> None:
    """Copy the splits `asked` of `source` (RAW) to `target` (QUERIES); the others are empty there.

    Raises:
        PrivpipeError: `source` is missing or damaged, or `target` cannot be written.
    """
    with open_store(source, RAW) as store:
        salt = derived_salt(store.header.salt, "queries")
        header = replace(store.header, kind=QUERIES, method=settings.method, salt=salt)
        counts = {split: store.counts[split] if split in asked else 0 for split in SPLITS}
        with create(target, header, counts) as writer:
            for split in asked:
                for start, stop in store.spans(split):
                    writer.write(split, start, store.rows(split, start, stop), store.labels(split, start, stop))
