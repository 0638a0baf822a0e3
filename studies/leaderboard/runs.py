"""All runs of the leaderboard's entries, side by side; only what is missing is measured."""

import click

from privpipe.errors import PrivpipeError
from privpipe.pipeline.entries import RUN
from privpipe.pipeline.grid import load_grid
from privpipe.pipeline.runner import run_sweep
from stages import in_path, out_path, stage


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
        entries = load_grid(grid, common)
        for name, group in entries.groups.items():
            if all(run.params.train.seed != run.params.attack.seed for run in group):
                raise PrivpipeError(
                    f"no run of {name} is attacked: that is done where train.seed is attack.seed="
                    f"{group[0].params.attack.seed}. Add it to sweep.seeds."
                )
        runs = [run for group in entries.groups.values() for run in group]
        run_sweep(runs, RUN, inputs, rows, scratch, entries.sweep)


if __name__ == "__main__":
    main()
