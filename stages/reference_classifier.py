"""Train a classifier on the raw images, to tell what reconstructions give away. It never leaves the owner."""

import click

from privpipe.files import write_or_keep
from privpipe.nn.bundle import save_bundle
from privpipe.params import load_params
from privpipe.scores.reference_classifier import train_reference_classifier

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--images")
@out_path("--model")
@params_path
def main(images: str, model: str, params_file: str) -> None:
    with stage():
        params = load_params(params_file)
        how, machine = params.attack, params.train
        bundle = train_reference_classifier(
            images, how.reference_epochs, how.seed, machine.device, machine.threads, model
        )
        write_or_keep("reference_classifier", {model: lambda path: save_bundle(path, bundle)})


if __name__ == "__main__":
    main()
