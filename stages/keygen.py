"""Name the key of this project: make one where it has none yet. What is written holds no secret."""

import click

from privpipe.owner.keygen import ensure_key
from privpipe.owner.keyhome import place
from privpipe.params import load_params

from . import out_path, params_path, stage


@click.command(help=__doc__)
@out_path("--key")
@click.option("--perturb-metrics", type=click.Path(dir_okay=False), help="names the key of perturbed images")
@params_path
def main(key: str, perturb_metrics: str | None, params_file: str) -> None:
    with stage():
        made = ensure_key(key, load_params(params_file).key.seed, perturb_metrics)
        kind = "research key: anybody can make it again, so it protects nothing" if made.research else "real key"
        click.echo(f"{key}: {kind}, fingerprint {made.fingerprint}")
        if not made.research:
            click.echo(f"Its secret is in {place(made.fingerprint)}: back it up.")


if __name__ == "__main__":
    main()
