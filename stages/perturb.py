"""Perturb the images with the owner's key, or release numbers of the whole set: what comes out may be uploaded."""

from pathlib import Path

import click

from privpipe.files import write_json
from privpipe.owner.keyhome import read_key
from privpipe.owner.releasing import cross
from privpipe.params import load_params
from privpipe.pipeline.project import hide_raw_images

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--images")
@in_path("--public")
@in_path("--key")
@out_path("--perturbed")
@out_path("--queries")
@out_path("--metrics")
@params_path
def main(images: str, public: str, key: str, perturbed: str, queries: str, metrics: str, params_file: str) -> None:
    with stage():
        hide_raw_images(Path(queries).parent)
        params = load_params(params_file)
        secret = read_key(key)
        if params.data.source == "folder" and secret.research:
            click.echo(
                "WARNING: your own images are perturbed with a research key, which anybody can make again: "
                "they are NOT protected. Set key.seed=null before anything leaves this machine.",
                err=True,
            )
        write_json(metrics, cross(images, public, perturbed, queries, params.perturb, secret, params.key.budget))


if __name__ == "__main__":
    main()
