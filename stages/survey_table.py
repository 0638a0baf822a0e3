"""One table of all points of the survey, one of all attempts, and the trade-off as a figure."""

from pathlib import Path

import click

from privpipe.files import write_text
from privpipe.pipeline.survey_tables import attacks_table, points_table
from privpipe.report.figures import save
from privpipe.report.privacy_figures import tradeoff
from stages import in_path, out_path, stage


@click.command(help=__doc__)
@in_path("--points")
@click.option("--results", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder to read")
@out_path("--table")
@out_path("--attempts")
@click.option("--figure", required=True, help="file to write, without its suffix: PNG and SVG")
def main(points: str, results: Path, table: str, attempts: str, figure: str) -> None:
    with stage():
        measured = points_table(points, results)
        write_text(table, measured.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
        write_text(
            attempts, attacks_table(points, results).to_csv(index=False, lineterminator="\n", float_format="%.6g")
        )
        for suffix in ("png", "svg"):
            save(tradeoff(measured), f"{figure}.{suffix}", suffix)


if __name__ == "__main__":
    main()
