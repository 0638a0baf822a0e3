"""Evaluate the model on validation and test images that are perturbed like its training set."""

import click

from privpipe.files import write_csv, write_json
from privpipe.nn.evaluate_job import evaluate_file
from privpipe.params import load_params

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--perturbed")
@in_path("--model")
@out_path("--metrics")
@out_path("--confusion")
@out_path("--classes")
@params_path
def main(perturbed: str, model: str, metrics: str, confusion: str, classes: str, params_file: str) -> None:
    with stage():
        how = load_params(params_file).train
        result = evaluate_file(perturbed, model, how.device, how.threads)
        write_csv(confusion, ("actual", "predicted"), result.pairs())
        write_csv(classes, ("class", "accuracy", "images"), result.by_class())
        write_json(metrics, result.metrics)


if __name__ == "__main__":
    main()
