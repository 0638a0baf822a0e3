"""Train a classifier on the perturbed images: the cloud's work."""

import click

from privpipe.cloud.bundle import save_bundle
from privpipe.cloud.train_job import history_rows, train_experiment
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
        training = train_experiment(perturbed, params.model, params.train)
        save_bundle(model, training.bundle)
        write_csv(curve, *history_rows(training.history))
        write_json(metrics, training.metrics)


if __name__ == "__main__":
    main()
