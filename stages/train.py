"""Train a classifier on the perturbed images: the cloud's work."""

import click

from privpipe.cloud.bundle import save_bundle
from privpipe.cloud.train_job import history_rows, train_file
from privpipe.cloud.training import Recipe
from privpipe.files import write_csv, write_json
from privpipe.params import load_params
from stages import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--perturbed")
@out_path("--model")
@out_path("--metrics")
@out_path("--curve")
@params_path
def main(perturbed: str, model: str, metrics: str, curve: str, params_file: str) -> None:
    with stage():
        params = load_params(params_file)
        how = params.train
        recipe = Recipe(
            how.epochs, how.batch_size, how.lr, how.reg, how.seed, params.model.penalty, how.recipe, how.lr_decay
        )
        training = train_file(perturbed, params.model.arch, recipe, how.device, how.threads, params.model.descrambler)
        save_bundle(model, training.bundle)
        write_csv(curve, *history_rows(training.history))
        write_json(metrics, training.metrics)


if __name__ == "__main__":
    main()
