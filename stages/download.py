"""Bring the images and split them: a CIFAR-10 archive, a folder of pictures, or the embedded synthetic set."""

from pathlib import Path

import click
import numpy as np

from privpipe.owner.archive import read_archive
from privpipe.owner.fetch import locate
from privpipe.owner.folder import scan, scan_public, split_folder, write_folder
from privpipe.owner.images import RawImages
from privpipe.owner.split import split, write_images
from privpipe.owner.synthetic import draw
from privpipe.params import CLASSES, Data, load_params
from privpipe.project import hide_raw_images
from privpipe.store import PUBLIC
from stages import out_path, params_path, stage

SYNTHETIC_TRAIN, SYNTHETIC_TEST = 4000, 1000  # pictures drawn where data.n_train or data.n_test is null


@click.command(help=__doc__)
@click.option("--folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="keeps the download")
@out_path("--images")
@out_path("--public")
@params_path
def main(folder: Path, images: str, public: str, params_file: str) -> None:
    with stage():
        data = load_params(params_file).data
        hide_raw_images(folder, Path(images).parent)
        picture_seed, split_seed = np.random.SeedSequence(data.split_seed).spawn(2)
        rng = np.random.default_rng(split_seed)
        skip = data.on_error == "skip"
        if data.source == "folder":
            index = scan(Path(data.path).expanduser())
            rows = split_folder(index, data.n_train, data.n_val, data.n_test, rng, data.public_share)
            write_folder(images, index, rows, data.image_size, skip=skip)
            if not isinstance(data.public, str):
                write_folder(public, index, {"train": rows["public"]}, data.image_size, skip=skip, kind=PUBLIC)
        else:
            if data.source == "synthetic":
                train, test = draw_synthetic(data, np.random.default_rng(picture_seed))
                n_train: int | None = data.n_train or SYNTHETIC_TRAIN
            else:
                train, test = read_archive(locate(data.archive, data.sha256, folder))
                n_train = data.n_train
            rows = split(train, test, n_train, data.n_val, data.n_test, rng, data.public_share)
            write_images(images, train, test, rows)
            if not isinstance(data.public, str):
                write_images(public, train, test, {"train": rows["public"]}, PUBLIC)
        if isinstance(data.public, str):
            owned = Path(data.path).expanduser() if data.source == "folder" else None
            index = scan_public(Path(data.public).expanduser(), owned)
            write_folder(public, index, index.parts, data.image_size, skip=skip, kind=PUBLIC)


def draw_synthetic(data: Data, pen: np.random.Generator) -> tuple[RawImages, RawImages]:
    """The training part, large enough to set the public share aside, and the test part."""
    owned = (data.n_train or SYNTHETIC_TRAIN) + data.n_val
    share = data.public_share
    # One more of each class than the share takes, for what rounding takes.
    public = CLASSES + int(owned * share / (1 - share)) if share else 0
    return draw(owned + public, data.image_size, rng=pen), draw(data.n_test or SYNTHETIC_TEST, data.image_size, rng=pen)


if __name__ == "__main__":
    main()
