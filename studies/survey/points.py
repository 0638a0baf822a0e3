"""All points of the survey, side by side; only what is missing is measured."""

import click

from privpipe.pipeline.fingerprint import Measurement
from privpipe.pipeline.grid import load_grid
from privpipe.pipeline.runner import run_sweep
from stages import in_path, out_path, stage
from studies.survey.columns import COLUMNS
from studies.survey.point import measure

POINT = Measurement(measure, COLUMNS)


@click.command(help=__doc__)
@in_path("--grid")
@in_path("--common")
@in_path("--images")
@in_path("--public")
@in_path("--leaked")
@in_path("--reference-classifier")
@click.option("--scratch", required=True, type=click.Path(file_okay=False), help="folder for files that are not kept")
@out_path("--rows")
def main(grid: str, common: str, scratch: str, rows: str, **inputs: str) -> None:
    with stage():
        survey = load_grid(grid, common)
        points = [point for group in survey.groups.values() for point in group]
        run_sweep(points, POINT, inputs, rows, scratch, survey.sweep)


if __name__ == "__main__":
    main()
