"""Evaluate the model on validation and test images that are perturbed like its training set.

A model of a release of the whole set takes the images as they are: then these are read from QUERIES, at home.
"""

import click

from privpipe.files import write_csv, write_json
from privpipe.nn.evaluate_job import evaluate_file
from privpipe.params import load_params

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--perturbed")
@in_path("--model")
@click.option("--queries", type=click.Path(dir_okay=False), help="file to read, for a release of the whole set")
@out_path("--metrics")
@out_path("--confusion")
@out_path("--classes")
@params_path
def main(
    perturbed: str, model: str, queries: str | None, metrics: str, confusion: str, classes: str, params_file: str
) -> None:
    with stage():
        machine = load_params(params_file).train
        result = evaluate_file(perturbed, model, machine.device, machine.threads, queries)
        write_csv(confusion, ("actual", "predicted"), result.pairs())
        write_csv(classes, ("class", "accuracy", "images"), result.by_class())
        write_json(metrics, result.metrics)


if __name__ == "__main__":
    main()
