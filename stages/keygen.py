"""Make the owner's key, or keep the real one that is there."""

import click

from privpipe.owner.key import ensure_key
from privpipe.params import load_params
from stages import out_path, params_path, stage


@click.command(help=__doc__)
@out_path("--key")
@params_path
def main(key: str, params_file: str) -> None:
    with stage():
        made = ensure_key(key, load_params(params_file).key.seed)
        kind = "research key: anybody can make it again, so it protects nothing" if made.research else "real key"
        click.echo(f"{key}: {kind}, fingerprint {made.fingerprint}")


if __name__ == "__main__":
    main()
