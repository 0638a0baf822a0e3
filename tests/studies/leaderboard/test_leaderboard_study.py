"""The leaderboard's study: its entries are of a size of the suite, and its rows become records, a page and a table."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_entry import run
from small_sweep import ROOT

from privpipe.pipeline.entries import COLUMNS, CUSTOM, size_of
from privpipe.pipeline.grid import load_grid
from privpipe.scores.entry import load_entry
from studies.leaderboard import runs
from studies.leaderboard.page import main

STUDY = ROOT / "studies" / "leaderboard"


def test_every_entry_is_of_a_size_of_the_suite_and_named_by_its_method() -> None:
    for name, tasks in load_grid(STUDY / "params.yaml", STUDY / "common.yaml").groups.items():
        assert size_of([task.params for task in tasks]) != CUSTOM, name
        assert len(tasks) >= 9 and name.startswith(tasks[0].params.perturb.method)


def test_rows_become_records_a_page_and_a_table(tmp_path: Path) -> None:
    for name in ("images.h5", "public.h5"):
        (tmp_path / name).write_text(name)
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        rows = [(f"scramble-{scope}", scope, key) for scope in ("dataset", "image") for key in (0, 1)]
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for group, scope, key in rows:
            measured = run(key)
            measured["params"]["perturb"]["scope"] = scope
            table.writerow([group, json.dumps(measured), "c" * 16, "f" * 16])
    words = [f"--{name}={tmp_path / name}.h5" for name in ("images", "public")]
    words += [f"--rows={tmp_path}/runs.csv", f"--records={tmp_path}/records"]
    done = CliRunner().invoke(main, [*words, f"--page={tmp_path}/page.html", f"--table={tmp_path}/results.csv"])
    assert done.exit_code == 0, done.output
    records = {path.stem: load_entry(path) for path in (tmp_path / "records").iterdir()}
    assert {name: (entry.scheme.scope, entry.keys) for name, entry in records.items()} == {
        "scramble-dataset": ("dataset", [0, 1]),
        "scramble-image": ("image", [0, 1]),
    }
    with (tmp_path / "results.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first["scheme"] == "block_scramble k=4 dataset, baseline" and second["accuracy"] == "0.5"
    assert (first["at_most"], float(first["l1_ssim"]), first["runs"]) == ("", pytest.approx(0.205), "2")
    assert float(first["accuracy_low"]) <= 0.5 <= float(first["accuracy_high"])
    assert (tmp_path / "page.html").read_text().count("<tbody") == 2


def test_entries_that_nobody_would_attack_are_refused(tmp_path: Path) -> None:
    grid = (STUDY / "params.yaml").read_text().replace("seeds: [0, 1, 2]", "seeds: [1, 2]")
    (tmp_path / "grid.yaml").write_text(grid)
    words = [f"--grid={tmp_path}/grid.yaml", f"--common={STUDY}/common.yaml", f"--scratch={tmp_path}", "--rows=r.csv"]
    for name in ("images", "public", "leaked", "reference-classifier"):
        (tmp_path / name).touch()
        words.append(f"--{name}={tmp_path}/{name}")
    refused = CliRunner().invoke(runs.main, words)
    assert refused.exit_code == 1
    assert "no run of none is attacked" in refused.output and "Add it to sweep.seeds." in refused.output
