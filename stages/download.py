"""Bring the images and split them: a CIFAR-10 archive, a folder of pictures, or the embedded synthetic set."""

from pathlib import Path

import click
import numpy as np

from privpipe.owner.archive import read_archive
from privpipe.owner.fetch import locate
from privpipe.owner.folder import scan, split_folder, write_folder
from privpipe.owner.split import split, write_images
from privpipe.owner.synthetic import draw
from privpipe.params import load_params
from stages import out_path, params_path, stage

SYNTHETIC_TRAIN, SYNTHETIC_TEST = 4000, 1000  # pictures drawn where data.n_train or data.n_test is null


@click.command(help=__doc__)
@click.option("--folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="keeps the download")
@out_path("--images")
@params_path
def main(folder: Path, images: str, params_file: str) -> None:
    with stage():
        data = load_params(params_file).data
        picture_seed, split_seed = np.random.SeedSequence(data.split_seed).spawn(2)
        rng = np.random.default_rng(split_seed)
        if data.source == "folder":
            index = scan(Path(data.path).expanduser())
            chosen = split_folder(index, data.n_train, data.n_val, data.n_test, rng)
            write_folder(images, index, chosen, data.image_size, skip=data.on_error == "skip")
            return
        if data.source == "synthetic":
            pen = np.random.default_rng(picture_seed)
            train = draw((data.n_train or SYNTHETIC_TRAIN) + data.n_val, data.image_size, rng=pen)
            test = draw(data.n_test or SYNTHETIC_TEST, data.image_size, rng=pen)
        else:
            train, test = read_archive(locate(data.archive, data.sha256, folder))
        rows = split(train, test, data.n_train, data.n_val, data.n_test, rng)
        write_images(images, train, test, rows)


if __name__ == "__main__":
    main()
