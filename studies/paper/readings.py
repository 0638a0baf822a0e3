"""A reading of the paper that may explain where it and ours differ: filtered images that were stored in 8 bits."""

import click

from privpipe.pipeline.fingerprint import Measurement
from privpipe.pipeline.grid import load_grid
from privpipe.pipeline.runner import run_sweep
from stages import in_path, out_path, stage
from studies.paper.columns import COLUMNS
from studies.paper.eight_bits import measure

MODEL = Measurement(measure, COLUMNS, without=("attack",))


@click.command(help=__doc__)
@in_path("--grid")
@in_path("--common")
@in_path("--images")
@click.option("--scratch", required=True, type=click.Path(file_okay=False), help="folder for files that are not kept")
@out_path("--rows")
def main(grid: str, common: str, images: str, scratch: str, rows: str) -> None:
    with stage():
        study = load_grid(grid, common)
        tasks = [task for group in study.groups for task in study.tasks(group)]
        run_sweep(tasks, MODEL, {"images": images}, rows, scratch, study.sweep)


if __name__ == "__main__":
    main()
