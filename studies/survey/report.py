"""One table of all points of the survey, one of all attacks, and the trade-off as a figure."""

import click

from privpipe.files import write_text
from privpipe.report.figures import save
from privpipe.report.privacy_figures import tradeoff
from stages import in_path, out_path, stage
from studies.survey.tables import attacks_table, load_points, points_table


@click.command(help=__doc__)
@in_path("--rows")
@out_path("--table")
@out_path("--attempts")
@click.option("--figure", required=True, help="file to write, without its suffix: PNG and SVG")
def main(rows: str, table: str, attempts: str, figure: str) -> None:
    with stage():
        points = load_points(rows)
        measured = points_table(points)
        for path, content in ((table, measured), (attempts, attacks_table(points))):
            write_text(path, content.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
        for kind in ("png", "svg"):
            save(tradeoff(measured), f"{figure}.{kind}", kind)


if __name__ == "__main__":
    main()
