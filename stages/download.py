"""Bring the images and split them: a CIFAR-10 archive, a folder of images, or the embedded synthetic set."""

from functools import partial
from pathlib import Path

import click
import numpy as np

from privpipe.data.archive import read_archive
from privpipe.data.audit import Audit
from privpipe.data.folder import FolderIndex, scan, scan_public, warn_of_left_out
from privpipe.data.folder_file import measure_limits, write_folder
from privpipe.data.folder_split import split_folder
from privpipe.data.groups import FOLDERS
from privpipe.data.images import RawImages
from privpipe.data.locate import locate
from privpipe.data.places import given_path, refuse_files, refuse_folder
from privpipe.data.split import split, write_images
from privpipe.data.summary import summary
from privpipe.data.synthetic import draw
from privpipe.files import write_json
from privpipe.owner.keyhome import read_key
from privpipe.owner.order import salt_of, shuffler
from privpipe.params import CLASSES, Data, load_params
from privpipe.pipeline.project import hide_raw_images
from privpipe.store import PUBLIC

from . import out_path, params_path, stage

PUBLISHED = (
    "The test images are those of CIFAR-10; training and validation images were drawn one by one from its others."
)
DRAWN = "Each image was drawn by itself: no two have anything in common but their class."
SYNTHETIC_TRAIN, SYNTHETIC_TEST = 4000, 1000  # images drawn where data.n_train or data.n_test is null


@click.command(help=__doc__)
@click.option("--folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="keeps the download")
@click.option("--key", type=click.Path(dir_okay=False), help="file to read; a real key decides order and salts")
@out_path("--images")
@out_path("--public")
@click.option("--summary", "found", type=click.Path(dir_okay=False), help="file to write: what was not taken, and why")
@params_path
def main(folder: Path, key: str | None, images: str, public: str, found: str | None, params_file: str) -> None:
    with stage():
        data = load_params(params_file).data
        hide_raw_images(folder, Path(images).parent)
        image_seed, split_seed = np.random.SeedSequence(data.split_seed).spawn(2)
        secret = read_key(key) if key else None
        rng = shuffler(secret, data.split_seed, split_seed)
        salt, aside_salt = salt_of(secret, "images"), salt_of(secret, "public")
        skip, reading = data.on_error == "skip", data.reading
        # All that is given is looked at before anything is read.
        owned = owned_images(data) if data.source == "folder" else None
        others = public_images(data) if isinstance(data.public, str) else None
        audit, about = Audit(data.on_duplicates), {"split": [PUBLISHED if data.source == "cifar10" else DRAWN]}
        if owned is not None:
            warn_of_left_out(owned)
            rows = split_folder(owned, data.n_train, data.n_val, data.n_test, rng, data.public_fraction)
            reading = measure_limits(owned, rows["train"], data.image_size, reading)
            how = partial(write_folder, image_size=data.image_size, reading=reading, skip=skip, audit=audit)
            how(images, owned, rows, salt=salt)
            if others is None:
                how(public, owned, {"train": rows["public"]}, kind=PUBLIC, salt=aside_salt)
        else:
            if data.source == "synthetic":
                train, test = draw_synthetic(data, np.random.default_rng(image_seed))
                n_train: int | None = data.n_train or SYNTHETIC_TRAIN
            else:
                train, test = read_archive(locate(local_archive(data.archive), data.sha256, folder))
                n_train = data.n_train
            rows = split(train, test, n_train, data.n_val, data.n_test, rng, data.public_fraction)
            write_images(images, train, test, rows, salt=salt)
            if others is None:
                write_images(public, train, test, {"train": rows["public"]}, PUBLIC, aside_salt)
        if others is not None:
            warn_of_left_out(others)
            how = partial(write_folder, image_size=data.image_size, reading=reading, skip=skip, kind=PUBLIC)
            how(public, others, others.parts, audit=audit if owned is not None else None)
        if owned is not None:
            audit.warn_of_range()
            about = summary(owned, audit, reading, given_path("data.path", str(data.path)))
        if found is not None:
            write_json(found, about)


def owned_images(data: Data) -> FolderIndex:
    """The owner's images by name; refused where git would take one, before any is read."""
    root = given_path("data.path", str(data.path))
    refuse_folder("data.path", root)
    groups = data.groups if data.groups in (None, FOLDERS) else given_path("data.groups", str(data.groups))
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
    """The training part, large enough to set the public share aside, and the test part."""
    owned = (data.n_train or SYNTHETIC_TRAIN) + data.n_val
    share = data.public_fraction
    # One more of each class than the share takes, for what rounding takes.
    public = CLASSES + int(owned * share / (1 - share)) if share else 0
    return draw(owned + public, data.image_size, rng=pen), draw(data.n_test or SYNTHETIC_TEST, data.image_size, rng=pen)


if __name__ == "__main__":
    main()
