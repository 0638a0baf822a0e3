"""One group of the study: all of its models, side by side; only what is missing is trained."""

from pathlib import Path

import click

from privpipe.errors import PrivpipeError
from privpipe.params import unknown
from privpipe.study.grid import load_grid
from privpipe.study.runner import run_group
from stages import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@params_path
@click.option("--group", required=True, help="its name in the parameter file")
@in_path("--images")
@click.option("--scratch", required=True, type=click.Path(file_okay=False), help="folder for files that are not kept")
@out_path("--rows")
def main(params_file: str, group: str, images: str, scratch: str, rows: str) -> None:
    with stage():
        grid = load_grid(Path(params_file))
        if group not in grid.groups:
            raise PrivpipeError(unknown("a group of the study", group, list(grid.groups)))
        run_group(grid.groups[group], images, rows, scratch, grid.how)


if __name__ == "__main__":
    main()
