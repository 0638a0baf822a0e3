"""Train a classifier on the perturbed images: the cloud's work."""

import click

from privpipe.attacks.descrambler_init import preparation
from privpipe.files import write_csv, write_json, write_or_keep
from privpipe.nn.bundle import save_bundle
from privpipe.nn.train_job import history_rows, train_experiment
from privpipe.params import load_params

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--perturbed")
@out_path("--model")
@out_path("--metrics")
@out_path("--curve")
@out_path("--times")
@params_path
def main(perturbed: str, model: str, metrics: str, curve: str, times: str, params_file: str) -> None:
    with stage():
        params = load_params(params_file)
        prepare = preparation(params.model.descrambler)
        training = train_experiment(perturbed, params.model, params.train, prepare, target=model)
        write_or_keep(
            "train",
            {
                model: lambda path: save_bundle(path, training.bundle),
                curve: lambda path: write_csv(path, *history_rows(training.history)),
                metrics: lambda path: write_json(path, training.metrics),
                times: lambda path: write_json(path, training.times),
            },
        )


if __name__ == "__main__":
    main()
