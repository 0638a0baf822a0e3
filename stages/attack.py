"""Attack the perturbed images with every attack that applies, at every level of knowledge."""

from pathlib import Path

import click

from privpipe.attacks.records import TIME_COLUMNS, save_records, time_metrics, time_rows
from privpipe.files import write_csv, write_json, write_or_keep
from privpipe.params import load_params
from privpipe.pipeline.project import hide_raw_images
from privpipe.pipeline.steps.attack import attack
from privpipe.salt import salt_from
from privpipe.store import LEAKED

from . import in_path, out_path, params_path, stage


@click.command(help=__doc__)
@in_path("--perturbed")
@in_path("--public")
@in_path("--leaked")
@out_path("--reconstructions")
@out_path("--times")
@out_path("--time-table")
@params_path
def main(
    perturbed: str, public: str, leaked: str, reconstructions: str, times: str, time_table: str, params_file: str
) -> None:
    with stage():
        hide_raw_images(Path(reconstructions).parent)
        salt = salt_from(leaked, LEAKED, "reconstructions")
        records = attack(load_params(params_file), perturbed, public, leaked, target=reconstructions)
        write_or_keep(
            "attack",
            {
                reconstructions: lambda path: save_records(path, records, salt),
                time_table: lambda path: write_csv(path, TIME_COLUMNS, time_rows(records)),
                times: lambda path: write_json(path, time_metrics(records)),
            },
        )


if __name__ == "__main__":
    main()
