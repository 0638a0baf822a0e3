"""One point of the survey: perturb, train, attack and score, in one process."""

import tempfile
from pathlib import Path

import click

from privpipe.files import write_json
from privpipe.pipeline.survey import Inputs, measure_point
from privpipe.pipeline.survey_points import load_point
from stages import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@params_path
@in_path("--points")
@click.option("--name", required=True, help="of the point")
@in_path("--images")
@in_path("--public")
@in_path("--leaked")
@in_path("--reference-classifier")
@out_path("--result")
def main(
    params_file: str,
    points: str,
    name: str,
    images: str,
    public: str,
    leaked: str,
    reference_classifier: str,
    result: str,
) -> None:
    with stage():
        params = load_point(params_file, points, name)
        inputs = Inputs(Path(images), Path(public), Path(leaked), Path(reference_classifier))
        with tempfile.TemporaryDirectory(prefix="privpipe-") as scratch:
            write_json(result, {"name": name, **measure_point(params, inputs, Path(scratch))})


if __name__ == "__main__":
    main()
