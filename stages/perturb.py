"""Perturb the images with the owner's key: what comes out may be uploaded."""

import click

from privpipe.files import write_json
from privpipe.owner.keyhome import read_key
from privpipe.owner.perturbing import perturb_file
from privpipe.params import load_params

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--images")
@in_path("--key")
@out_path("--perturbed")
@out_path("--metrics")
@params_path
def main(images: str, key: str, perturbed: str, metrics: str, params_file: str) -> None:
    with stage():
        params = load_params(params_file)
        secret = read_key(key)
        if params.data.source == "folder" and secret.research:
            click.echo(
                "WARNING: your own images are perturbed with a research key, which anybody can make again: "
                "they are NOT protected. Set key.seed=null before anything leaves this machine.",
                err=True,
            )
        write_json(metrics, perturb_file(images, perturbed, params.perturb, secret))


if __name__ == "__main__":
    main()
