"""The record of every entry, the page of all of them, and its table without images."""

from pathlib import Path

import click

from privpipe.files import write_csv
from privpipe.pipeline.entries import load_runs, make_entry
from privpipe.report.leaderboard import COLUMNS, cells, load_entries, write_leaderboard
from privpipe.scores.entry import Entry, save_entry
from stages import in_path, out_path, stage

TABLE = (*(column.name for column in COLUMNS), "accuracy_low", "accuracy_high", "suite", "size", "code")


def row(entry: Entry) -> list[str | float | None]:
    """The values of `TABLE`."""
    shown, accuracy = cells(entry), entry.accuracy
    values = [shown[column.name].value for column in COLUMNS]
    return [*values, accuracy.low, accuracy.high, entry.suite.title, entry.suite.size, entry.code]


@click.command(help=__doc__)
@in_path("--rows")
@in_path("--images")
@in_path("--public")
@click.option("--records", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder to write")
@out_path("--page")
@out_path("--table")
def main(rows: str, images: str, public: str, records: Path, page: str, table: str) -> None:
    with stage():
        paths = []
        for name, runs in load_runs(rows).items():
            paths.append(records / f"{name}.json")
            save_entry(paths[-1], make_entry(runs, images, public))
        write_leaderboard(paths, page)
        write_csv(table, TABLE, map(row, load_entries(paths)))


if __name__ == "__main__":
    main()
