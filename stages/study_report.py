"""One table of all models of the study, the figures of the paper beside its own numbers, and its claims."""

from pathlib import Path

import click

from privpipe.files import write_csv, write_text
from privpipe.pipeline.grid import load_grid
from privpipe.pipeline.ledger import all_rows
from privpipe.report import study_results as results
from privpipe.report.figures import save
from privpipe.report.study_claims import claims_page
from privpipe.report.study_columns import COLUMNS
from privpipe.report.study_example import example_image
from privpipe.report.study_figures import all_figures
from stages import in_path, out_path, stage


@click.command(help=__doc__)
@in_path("--grid")
@in_path("--common")
@in_path("--images")
@click.option("--rows", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder to read")
@out_path("--table")
@out_path("--summary")
@out_path("--claims")
@click.option("--figures", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder to write")
def main(grid: str, common: str, images: str, rows: Path, table: str, summary: str, claims: str, figures: Path) -> None:
    with stage():
        write_csv(table, COLUMNS, all_rows(rows, list(load_grid(grid, common).groups)))
        found = results.load_results(table)
        write_text(summary, results.summary(found).to_csv(index=False, lineterminator="\n", float_format="%.6g"))
        write_text(claims, claims_page(found))
        for name, figure in all_figures(found, example_image(images)).items():
            for kind in ("png", "svg"):
                save(figure, figures / f"{name}.{kind}", kind)


if __name__ == "__main__":
    main()
