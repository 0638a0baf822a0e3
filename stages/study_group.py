"""One group of the study: all of its models, side by side; only what is missing is trained."""

import click

from privpipe.errors import PrivpipeError, unknown
from privpipe.pipeline.grid import load_grid
from privpipe.pipeline.runner import run_group
from stages import in_path, out_path, stage


@click.command(help=__doc__)
@in_path("--grid")
@in_path("--common")
@click.option("--group", required=True, help="its name in the parameter file")
@in_path("--images")
@click.option("--scratch", required=True, type=click.Path(file_okay=False), help="folder for files that are not kept")
@out_path("--rows")
def main(grid: str, common: str, group: str, images: str, scratch: str, rows: str) -> None:
    with stage():
        study = load_grid(grid, common)
        if group not in study.groups:
            raise PrivpipeError(unknown("a group of the study", group, list(study.groups)))
        run_group(study.groups[group], images, rows, scratch, study.how)


if __name__ == "__main__":
    main()
