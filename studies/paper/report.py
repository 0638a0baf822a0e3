"""One table of all models of the study, the figures of the paper beside its own numbers, and its claims."""

from itertools import chain
from pathlib import Path

import click

from privpipe.files import write_csv, write_text
from privpipe.pipeline.grid import load_grid
from privpipe.pipeline.ledger import read_rows
from privpipe.report.figures import example_row, save
from privpipe.store import RAW, open_store
from stages import in_path, out_path, stage
from studies.paper.claims import claims_page
from studies.paper.columns import COLUMNS
from studies.paper.drawings import all_figures
from studies.paper.table import load_results
from studies.paper.table import summary as means


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
        groups = load_grid(grid, common).groups
        write_csv(table, COLUMNS, chain.from_iterable(read_rows(rows / f"{group}.csv", COLUMNS) for group in groups))
        results = load_results(table)
        write_text(summary, means(results).to_csv(index=False, lineterminator="\n", float_format="%.6g"))
        write_text(claims, claims_page(results))
        with open_store(images, RAW) as store:
            row = example_row(store)
            (example,) = store.rows("test", row, row + 1)
        for name, figure in all_figures(results, example).items():
            for kind in ("png", "svg"):
                save(figure, figures / f"{name}.{kind}", kind)


if __name__ == "__main__":
    main()
