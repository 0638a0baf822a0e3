"""Compare the learned descrambler of every block with the true one (figure 13 of the study)."""

import click

from privpipe.files import write_csv, write_json
from privpipe.nn.bundle import load_bundle
from privpipe.owner.keyhome import check_key, read_key
from privpipe.scores.descrambler import score

from . import in_path, out_path, stage


@click.command(help=__doc__)
@in_path("--model")
@in_path("--key")
@out_path("--metrics")
@out_path("--histogram")
def main(model: str, key: str, metrics: str, histogram: str) -> None:
    with stage():
        secret, bundle = read_key(key), load_bundle(model)
        if bundle.key_fingerprint:
            check_key(secret, bundle.key_fingerprint, model)
        result = score(bundle, secret)
        if result.reason:
            click.echo(f"not measured: {result.reason}")
        write_csv(histogram, ("pixels_right", "blocks", "blocks_by_chance"), result.histogram())
        write_json(metrics, {**result.metrics, "not_measured": result.reason})


if __name__ == "__main__":
    main()
