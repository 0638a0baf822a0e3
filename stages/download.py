"""Bring the images and split them: a CIFAR-10 archive, a folder of images, or the embedded synthetic set."""

from pathlib import Path

import click

from privpipe.files import json_text, write_text
from privpipe.owner.keyhome import project, read_key
from privpipe.owner.order import salt_of
from privpipe.params import load_params
from privpipe.pipeline.project import hide_raw_images
from privpipe.pipeline.steps.download import download
from privpipe.salt import salted_json

from . import out_path, params_path, stage


@click.command(help=__doc__)
@click.option("--folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="keeps the download")
@click.option("--key", type=click.Path(dir_okay=False), help="file to read; a real key decides order and salts")
@out_path("--images")
@out_path("--public")
@click.option("--summary", type=click.Path(dir_okay=False), help="file to write: what was not taken, and why")
@params_path
def main(folder: Path, key: str | None, images: str, public: str, summary: str | None, params_file: str) -> None:
    with stage():
        data = load_params(params_file).data
        owned = data.source == "folder" and data.public_fraction > 0  # the public images are some of the owner's
        hide_raw_images(folder, Path(images).parent, *[Path(public).parent] * owned)
        secret = read_key(key) if key else None
        kept = project().checkout / folder  # DVC's temporary copies begin without what the project has downloaded
        about = download(data, secret, folder, images, public, kept)
        if summary is not None:
            write_text(summary, salted_json(json_text(about), salt_of(secret, "summary")))


if __name__ == "__main__":
    main()
