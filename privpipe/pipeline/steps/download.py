"""The images of an experiment: brought from where `data.source` says, split, and written with order and salts."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from privpipe.data.archive import read_archive
from privpipe.data.audit import Audit
from privpipe.data.folder import FolderIndex, scan, scan_public, warn_of_left_out, with_classes
from privpipe.data.folder_file import measure_limits, write_folder
from privpipe.data.folder_split import split_folder
from privpipe.data.groups import given_groups
from privpipe.data.images import RawImages
from privpipe.data.locate import locate
from privpipe.data.places import given_path, refuse_files, refuse_folder
from privpipe.data.split import split, write_images
from privpipe.data.summary import summary
from privpipe.data.synthetic import draw
from privpipe.owner.key import Key
from privpipe.owner.order import salt_of, shuffler
from privpipe.parameters import Data
from privpipe.params import CLASSES
from privpipe.store import PUBLIC

PUBLISHED = (
    "The test images are those of CIFAR-10; training and validation images were drawn one by one from its others."
)
DRAWN = "Each image was drawn by itself: no two have anything in common but their class."
SYNTHETIC_TRAIN, SYNTHETIC_TEST = 4000, 1000  # images drawn where data.n_train or data.n_test is null


def download(
    data: Data, key: Key | None, archives: Path, images: str, public: str, kept: Path | None = None
) -> dict[str, Any]:
    """Write the owner's images (RAW) and those of the adversary (PUBLIC).

    Args:
        key: a real one decides order and salts.
        archives: keeps what was downloaded.
        images, public: files to write.
        kept: another folder that may hold what was downloaded.

    Returns:
        What was not taken and why, duplicates, and what the split guarantees; see `privpipe.data.summary`.

    Raises:
        PrivpipeError: images are missing, damaged or cannot be read, git would take them, there are too few, or there
            are duplicates and `data.on_duplicates` is to stop.
    """
    # All that is given is looked at before anything is read.
    owned = owned_images(data) if data.source == "folder" else None
    others = public_images(data) if isinstance(data.public, str) else None
    reading, audit = data.reading, Audit(data.on_duplicates, data.reading)
    _, split_seed = _seeds(data)
    rng = shuffler(key, data.split_seed, split_seed)
    write = partial(write_folder, image_size=data.image_size, skip=data.on_error == "skip")
    if owned is not None:
        class_names = owned.class_names
        warn_of_left_out(owned)
        rows = split_folder(owned, data.n_train, data.n_val, data.n_test, rng, data.public_fraction)
        reading = measure_limits(owned, rows["train"], data.image_size, reading)
        write(images, owned, rows, reading=reading, audit=audit, salt=salt_of(key, "images"))
        if others is None:
            aside = {"train": rows["public"]}
            write(public, owned, aside, reading=reading, audit=audit, kind=PUBLIC, salt=salt_of(key, "public"))
    else:
        train, test, n_train = _whole_sets(data, archives, kept)
        class_names = train.class_names
        rows = split(train, test, n_train, data.n_val, data.n_test, rng, data.public_fraction)
        write_images(images, train, test, rows, salt=salt_of(key, "images"))
        if others is None:
            write_images(public, train, test, {"train": rows["public"]}, PUBLIC, salt_of(key, "public"))
    if others is not None:
        warn_of_left_out(others)
        others = with_classes(others, given_path("data.public", str(data.public)), class_names)
        beside = audit if owned is not None else None
        write(public, others, others.parts, reading=reading, audit=beside, kind=PUBLIC)
    if owned is None:
        return {"split": [PUBLISHED if data.source == "cifar10" else DRAWN]}
    audit.warn_of_range()
    return summary(owned, audit, reading, data.image_size, given_path("data.path", str(data.path)))


def _seeds(data: Data) -> list[np.random.SeedSequence]:
    """For drawn images, and for the split."""
    return np.random.SeedSequence(data.split_seed).spawn(2)


def _whole_sets(data: Data, archives: Path, kept: Path | None) -> tuple[RawImages, RawImages, int | None]:
    """The training and the test part of a set that is no folder, and how many images to train with."""
    if data.source == "synthetic":
        train, test = draw_synthetic(data, np.random.default_rng(_seeds(data)[0]))
        return train, test, data.n_train or SYNTHETIC_TRAIN
    return *read_archive(locate(local_archive(data.archive), data.sha256, archives, kept)), data.n_train


def owned_images(data: Data) -> FolderIndex:
    """The owner's images by name; refused where git would take one, before any is read."""
    root = given_path("data.path", str(data.path))
    refuse_folder("data.path", root)
    groups = given_groups(data.groups)
    if isinstance(groups, Path):
        refuse_files("data.groups", [groups])
    index = scan(root, groups)
    refuse_files("data.path", index.paths)  # links lead out of the folder
    return index


def public_images(data: Data) -> FolderIndex:
    """The adversary's images by name, where they are a folder of their own; they may be somebody's too."""
    root = given_path("data.public", str(data.public))
    refuse_folder("data.public", root)
    index = scan_public(root, given_path("data.path", str(data.path)) if data.source == "folder" else None)
    refuse_files("data.public", index.paths)
    return index


def local_archive(archive: str | None) -> str | None:
    """The archive as given, a path with its variables put in; refused where git would take the file."""
    if archive is None or "://" in archive:
        return archive
    path = given_path("data.archive", archive)
    refuse_files("data.archive", [path])
    return str(path)


def draw_synthetic(data: Data, pen: np.random.Generator) -> tuple[RawImages, RawImages]:
    """The training part, large enough to set the public fraction aside, and the test part."""
    owned = (data.n_train or SYNTHETIC_TRAIN) + data.n_val
    fraction = data.public_fraction
    # One more of each class than the fraction takes, for what rounding takes.
    public = CLASSES + int(owned * fraction / (1 - fraction)) if fraction else 0
    return draw(owned + public, data.image_size, rng=pen), draw(data.n_test or SYNTHETIC_TEST, data.image_size, rng=pen)
