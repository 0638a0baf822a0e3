"""The table of all models read again, and means over runs with their intervals."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy.stats import t as student

from privpipe.errors import PrivpipeError
from privpipe.nn.statistics import wilson_interval
from studies.paper.columns import COLUMNS

WHOLE = ("k", "seed", "epochs", "batch_size", "n_train", "n_val", "n_test")
FRACTIONS = ("val_accuracy", "test_accuracy")
REALS = (
    *("sigma", "lr", "lr_decay", "reg", *FRACTIONS, "test_accuracy_low", "test_accuracy_high"),
    *("final_train_loss", "blocks_exact", "blocks_none", "pixels_right", "seconds"),
)
# The runs of one experiment have these in common and differ in draw and seed.
EXPERIMENT = (
    *("group", "method", "k", "scope", "sigma", "arch", "descrambler", "recipe"),
    *("epochs", "batch_size", "lr", "lr_decay", "reg"),
)


@dataclass(frozen=True)
class Estimate:
    """The mean of a fraction over the runs of an experiment, and its 95 % interval.

    Args:
        mean, low, high: 0..1, and `low` <= `mean` <= `high`.
        runs, draws: how many runs were made, of how many keys.
        diverged: runs that came to nothing; they are not in the mean.
    """

    mean: float
    low: float
    high: float
    runs: int
    draws: int
    diverged: int = 0


def load_results(path: str | Path) -> pd.DataFrame:
    """The table of all models, one row each.

    Returns:
        `COLUMNS`: whole numbers int64 (`draw` Int64, missing where the key is a secret), figures float64 with NaN where
        there is none, and text, empty where there is none.

    Raises:
        PrivpipeError: the file is missing, has other columns, or a cell is not what its column holds.
    """
    remedy = "Make it with `dvc --cd studies/paper repro`."
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: also pandas' ParserError and EmptyDataError
        raise PrivpipeError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}. {remedy}") from error
    if tuple(table.columns) != COLUMNS:
        raise PrivpipeError(f"{path} must have the columns {', '.join(COLUMNS)}; got {', '.join(table)}. {remedy}")
    for name in (*WHOLE, "draw", *REALS):
        kinds = ("float64",) if name in REALS else ("Int64",) if name == "draw" else ("Int64", "int64")
        try:
            table[name] = pd.to_numeric(table[name].replace("", None))
            for kind in kinds:  # Int64 refuses fractions, int64 empty cells
                table[name] = table[name].astype(kind)
        except (ValueError, TypeError) as error:
            expected = "number" if name in REALS else "whole number"
            raise PrivpipeError(f"{path}: a cell of the column {name} is no {expected}: {error}. {remedy}") from error
    for name in FRACTIONS:
        wrong = table[(table["status"] == "done") & ~table[name].between(0, 1)]
        if len(wrong):
            raise PrivpipeError(f"{path}: {name} must be in 0..1; got {wrong[name].iloc[0]}. {remedy}")
    return table


def estimate(rows: pd.DataFrame, column: str, trials: int) -> Estimate | None:
    """The mean of a fraction over the finished runs of one experiment; None where there are none.

    The interval is Student's. With runs of several draws the draws are the sample, each with the mean of its
    seeds: seeds of one draw are alike, and as many more of them say nothing of other draws. A single run, or runs
    that agree to the last digit, show no spread: then it is the Wilson interval of a fraction of `trials`.

    Args:
        rows: of the table, of one experiment.
        column: values 0..1.
        trials: how many different images or blocks the fraction is counted from.
    """
    done = rows[rows["status"] == "done"]
    if done.empty:
        return None
    draws = done.groupby("draw", dropna=False)[column].mean()
    sample = draws if len(draws) > 1 else done[column]
    mean, spread = float(sample.mean()), float(sample.std(ddof=1)) if len(sample) > 1 else 0.0
    if spread < 1e-9:
        low, high = wilson_interval(round(mean * trials), trials)
    else:
        half = float(student.ppf(0.975, len(sample) - 1)) * spread / len(sample) ** 0.5
        low, high = max(0.0, mean - half), min(1.0, mean + half)
    diverged = int((rows["status"] == "diverged").sum())
    return Estimate(mean, low, high, len(done), len(draws), diverged)


def accuracy(rows: pd.DataFrame, split: str = "val") -> Estimate | None:
    """The mean `val` or `test` accuracy of one experiment; None where no run of it is finished."""
    return estimate(rows, f"{split}_accuracy", int(rows[f"n_{split}"].iloc[0])) if len(rows) else None


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each experiment, in the order of the table.

    Returns:
        `EXPERIMENT`, then runs, diverged, draws and seeds (how many there are), and for val_accuracy and test_accuracy
        the mean over runs with `_low` and `_high`, its 95 % interval as of `estimate`. NaN where all runs diverged.
    """
    rows = []
    for names, runs in results.groupby(list(EXPERIMENT), sort=False):
        done = runs[runs["status"] == "done"]
        row = dict(zip(EXPERIMENT, names, strict=True))
        row |= {"runs": len(done), "diverged": int((runs["status"] == "diverged").sum())}
        row |= {"draws": done["draw"].nunique(dropna=False), "seeds": done["seed"].nunique()}
        for split in ("val", "test"):
            estimate = accuracy(runs, split)
            values = (estimate.mean, estimate.low, estimate.high) if estimate else (float("nan"),) * 3
            row |= dict(zip([f"{split}_accuracy{end}" for end in ("", "_low", "_high")], values, strict=True))
        rows.append(row)
    columns = [*EXPERIMENT, "runs", "diverged", "draws", "seeds"]
    columns += [f"{split}_accuracy{end}" for split in ("val", "test") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=columns)
