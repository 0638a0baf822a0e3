"""One group of a grid, or all: the models side by side; only what is missing is trained."""

import click

from privpipe.pipeline.fingerprint import Measurement
from privpipe.pipeline.grid import load_grid
from privpipe.pipeline.runner import run_sweep
from stages import in_path, out_path, stage
from studies.paper.columns import COLUMNS
from studies.paper.model import measure

MODEL = Measurement(measure, COLUMNS, without=("attack",))


@click.command(help=__doc__)
@in_path("--grid")
@in_path("--common")
@click.option("--group", default=None, help="its name in the grid; all groups, if it is not given")
@in_path("--images")
@click.option("--scratch", required=True, type=click.Path(file_okay=False), help="folder for files that are not kept")
@out_path("--rows")
def main(grid: str, common: str, group: str | None, images: str, scratch: str, rows: str) -> None:
    with stage():
        study = load_grid(grid, common)
        tasks = [task for name in ([group] if group else study.groups) for task in study.tasks(name)]
        run_sweep(tasks, MODEL, {"images": images}, rows, scratch, study.sweep)


if __name__ == "__main__":
    main()
