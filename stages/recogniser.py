"""Train a classifier on the raw images, to tell what reconstructions give away. It never leaves the owner."""

import click

from privpipe.cloud.bundle import save_bundle
from privpipe.cloud.training import Recipe
from privpipe.params import load_params
from privpipe.report.recogniser import train_recogniser
from stages import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--images")
@out_path("--model")
@params_path
def main(images: str, model: str, params_file: str) -> None:
    with stage():
        params = load_params(params_file)
        how = params.train
        recipe = Recipe(params.attack.recogniser_epochs, how.batch_size, how.lr, how.reg, how.seed)
        save_bundle(model, train_recogniser(images, recipe, how.device, how.threads))


if __name__ == "__main__":
    main()
