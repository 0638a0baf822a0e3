"""The study's table: read, refused, and averaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from privpipe.errors import PrivpipeError
from privpipe.files import write_csv
from studies.paper.columns import COLUMNS
from studies.paper.table import EXPERIMENT, accuracy, estimate, load_results, summary


def row(group: str = "plain", accuracy: float | None = 0.74, **values: Any) -> dict[str, Any]:
    """One model of the table; without accuracy it diverged."""
    method, _, scope = group.removeprefix("wide_").partition("-")
    usual = {
        "group": group,
        "method": {"plain": "none", "search": "none", "descrambler": "block_scramble"}.get(method, method),
        **{
            "k": 1,
            "scope": scope or "dataset",
            "sigma": 0.0,
            "draw": 0,
            "seed": 0,
            "arch": "baseline",
            "descrambler": "",
        },
        **{"recipe": "paper", "epochs": 10, "batch_size": 64, "lr": 0.001, "lr_decay": 0.8, "reg": 0.001},
        **{"n_train": 49_000, "n_val": 1000, "n_test": 10_000, "blocks_by_right_pixels": ""},
        **{"val_accuracy": accuracy, "test_accuracy": accuracy, "device": "cpu"},
        "status": "diverged" if accuracy is None else "done",
    }
    return {**dict.fromkeys(COLUMNS), **usual, **values}


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    """The table as `load_results` gives it."""
    out = pd.DataFrame(list(rows), columns=list(COLUMNS))
    return out.astype({name: "float64" for name in ("val_accuracy", "test_accuracy", "blocks_exact", "blocks_none")})


def write(path: Path, *rows: dict[str, Any]) -> Path:
    write_csv(path, COLUMNS, ([r[name] for name in COLUMNS] for r in rows))
    return path


def test_the_table_comes_back_with_its_types(tmp_path: Path) -> None:
    done = row("descrambler", 0.5, k=2, blocks_exact=0.25, blocks_by_right_pixels="0 1 2 0 1", fingerprint="0123")
    loaded = load_results(write(tmp_path / "r.csv", done, row(accuracy=None, draw=None, seed=1)))
    assert tuple(loaded.columns) == COLUMNS
    assert [str(loaded[name].dtype) for name in ("k", "seed", "draw", "lr", "val_accuracy", "seconds")] == [
        *("int64", "int64", "Int64", "float64", "float64", "float64")
    ]
    assert loaded["blocks_by_right_pixels"].tolist() == ["0 1 2 0 1", ""]
    assert loaded["fingerprint"].tolist() == ["0123", ""]
    assert loaded["val_accuracy"].isna().tolist() == [False, True]
    assert loaded["draw"].isna().tolist() == [False, True]


def test_a_table_without_rows_is_a_table(tmp_path: Path) -> None:
    loaded = load_results(write(tmp_path / "r.csv"))
    assert len(loaded) == 0 and loaded["val_accuracy"].dtype == "float64"
    assert len(summary(loaded)) == 0


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        PrivpipeError, match=r"cannot read .*none.csv: No such file.* Make it with `dvc --cd studies/pa"
    ):
        load_results(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(PrivpipeError, match=r"cannot read .*empty.csv: No columns"):
        load_results(tmp_path / "empty.csv")
    (tmp_path / "bytes.csv").write_bytes(b"group\n\xff\n")
    with pytest.raises(PrivpipeError, match=r"cannot read .*bytes.csv: .*utf-8"):
        load_results(tmp_path / "bytes.csv")
    write_csv(tmp_path / "other.csv", COLUMNS[1:], [])
    with pytest.raises(
        PrivpipeError, match=r"other.csv must have the columns group, method, .*; got method, k, .*Make"
    ):
        load_results(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": "three"}, r"a cell of the column k is no whole number: .*three"),
        ({"seed": ""}, r"a cell of the column seed is no whole number"),
        ({"k": 2.5}, r"a cell of the column k is no whole number"),
        ({"lr": "fast"}, r"a cell of the column lr is no number"),
        ({"val_accuracy": ""}, r"val_accuracy must be in 0..1; got nan"),
        ({"test_accuracy": 71.3}, r"test_accuracy must be in 0..1; got 71.3"),
    ],
)
def test_a_wrong_cell_is_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(PrivpipeError, match=message):
        load_results(write(tmp_path / "r.csv", row(**values)))


def test_the_interval_over_seeds_is_students() -> None:
    values = [0.71, 0.74, 0.72]
    found = estimate(table(*(row(accuracy=v, seed=i) for i, v in enumerate(values))), "val_accuracy", 1000)
    assert found is not None
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert (found.runs, found.draws, found.diverged) == (3, 1, 0)


def test_the_sample_is_the_draws_where_there_are_several() -> None:
    draws = [[0.70, 0.71], [0.74, 0.75], [0.66]]
    rows = [row(accuracy=v, draw=d, seed=s) for d, values in enumerate(draws) for s, v in enumerate(values)]
    found = accuracy(table(*rows, row(accuracy=None, draw=2, seed=1)))
    assert found is not None
    means = [np.mean(values) for values in draws]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(means), scale=stats.sem(means))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(means), low, high))
    assert (found.runs, found.draws, found.diverged) == (5, 3, 1)


@pytest.mark.parametrize("values", [[0.74], [0.74, 0.74, 0.74]])
def test_one_run_or_equal_runs_have_the_interval_of_a_share(values: list[float]) -> None:
    found = accuracy(table(*(row(accuracy=v, seed=i) for i, v in enumerate(values))), "test")
    assert found is not None
    share = stats.binomtest(7400, 10_000).proportion_ci(method="wilson")
    assert (found.mean, found.low, found.high) == pytest.approx((0.74, share.low, share.high))


def test_an_interval_keeps_to_shares_and_nothing_has_none() -> None:
    found = accuracy(table(row(accuracy=0.99), row(accuracy=0.8, seed=1)))
    assert found is not None and (found.low, found.high) == (0.0, 1.0)
    assert accuracy(table(row(accuracy=None))) is None
    assert accuracy(table()) is None


def test_the_summary_has_a_row_for_each_experiment() -> None:
    rows = [row("random_filter", 0.6 + d / 100 + s / 1000, k=3, draw=d, seed=s) for d in range(3) for s in range(2)]
    rows += [row("search", 0.7), row("search", 0.6, lr=0.003), row("search", None, lr=0.01)]
    found = summary(table(*rows))
    assert tuple(found.columns[: len(EXPERIMENT)]) == EXPERIMENT
    assert found["group"].tolist() == ["random_filter", "search", "search", "search"]
    assert found[["runs", "diverged", "draws", "seeds"]].values.tolist() == [
        *([6, 0, 3, 2], [1, 0, 1, 1], [1, 0, 1, 1], [0, 1, 0, 0])
    ]
    first = accuracy(table(*rows[:6]))
    assert first is not None
    names = ["val_accuracy", "val_accuracy_low", "val_accuracy_high"]
    assert found[names].iloc[0].tolist() == [first.mean, first.low, first.high]
    assert found["test_accuracy"].iloc[:3].tolist() == pytest.approx([0.6105, 0.7, 0.6])
    assert found.iloc[3][["val_accuracy", "test_accuracy_low"]].isna().all()
